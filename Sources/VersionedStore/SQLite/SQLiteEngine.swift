public import Basics
public import Reactor

/// Partitions as files of SQLite's in one folder, each used by whoever has its lock.
public final class SQLiteEngine: StoreEngine {
  private let folder: StoreFolder
  private let holder: String
  private let maxVersions: Int64
  private let threads: SQLitePartition.Threads
  private var open: [Int: SQLitePartition] = [:]

  /// The partitions in `folder`, for the server called `holder`; of each key `maxVersions` versions are kept.
  /// - Throws: `SystemError` if the system has no more threads.
  public init(_ folder: StoreFolder, holder: String, maxVersions: Int) throws(SystemError) {
    precondition(maxVersions > 0, "of each key one version is kept at least")
    (self.folder, self.holder, self.maxVersions) = (folder, holder, Int64(maxVersions))
    threads = SQLitePartition.Threads(
      writers: try ComputePool(width: min(Limits.writerThreads, folder.partitions), name: "writer"),
      readers: try ComputePool(width: min(Limits.readerThreads, folder.partitions), name: "reader"))
  }

  /// Nobody else changes what this one has the lock of.
  public var isShared: Bool { false }

  /// Nothing: a file is this machine's.
  public var missing: String? { nil }

  /// Takes the lock, opens the file and checks it.
  public func open(_ number: Int, on reactor: isolated Reactor) async throws(StoreError) -> Int64 {
    if let partition = open[number] { return try await revision(of: partition, on: reactor) }
    let place = folder.place(of: number)
    let lock = try await lock(of: place, on: reactor)
    let partition = SQLitePartition(place, lock: lock, maxVersions: maxVersions, threads: threads)
    open[number] = partition
    do throws(StoreError) {
      return try await revision(of: partition, on: reactor)
    } catch {
      open[number] = nil
      await partition.close(on: reactor)
      throw error
    }
  }

  private func lock(
    of place: PartitionPlace, on reactor: isolated Reactor
  ) async throws(StoreError) -> PartitionLock {
    let result: Result<PartitionLock.Outcome, SystemError>
    do {
      result = try await threads.writers.run(on: reactor) { [holder] in
        do throws(SystemError) {
          return Result<PartitionLock.Outcome, SystemError>.success(try PartitionLock.take(place.lockPath, for: holder))
        } catch {
          return .failure(error)
        }
      }
    } catch {
      throw .busy
    }
    switch result {
    case .success(.taken(let lock)): return lock
    case .success(.held(let name)): throw .held(by: name)
    case .failure(let error): throw .failed("\(place.lockPath): \(error)")
    }
  }

  /// Looks at the locks.
  public func holders(on reactor: isolated Reactor) async -> [String?] {
    let folder = folder
    return (try? await threads.readers.run(on: reactor) { folder.holders })
      ?? Array(repeating: nil, count: folder.partitions)
  }

  private func revision(of partition: SQLitePartition, on reactor: isolated Reactor) async throws(StoreError) -> Int64 {
    try await partition.write(on: reactor) { (file) throws(SQLiteFailure) in file.revision }
  }

  /// Closes the file and gives the lock back.
  public func close(_ number: Int, on reactor: isolated Reactor) async {
    await open.removeValue(forKey: number)?.close(on: reactor)
  }

  private func partition(_ number: Int) throws(StoreError) -> SQLitePartition {
    guard let partition = open[number] else { throw .failed("the partition is not open") }
    return partition
  }

  /// One durable commit.
  public func write(
    _ changes: [Change], to number: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> (outcomes: [ChangeOutcome], revision: Int64) {
    try await partition(number).write(on: reactor) { (file) throws(SQLiteFailure) in
      let outcomes = try file.apply(changes, at: Timestamp.current())
      return (outcomes: outcomes, revision: file.revision)
    }
  }

  /// A version.
  public func lookUp(
    _ key: StoreKey, version: Int64?, in number: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> Lookup {
    try await partition(number).read(on: reactor) { (file) throws(SQLiteFailure) in
      try file.lookUp(key, version: version)
    }
  }

  /// Versions of a key.
  public func history(
    _ key: StoreKey, before: Int64?, limit: Int, in number: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> [StoredVersion] {
    try await partition(number).read(on: reactor) { (file) throws(SQLiteFailure) in
      try file.history(key, before: before, limit: limit)
    }
  }

  /// Keys.
  public func keys(
    in range: KeyRange, after: StoreKey?, limit: Int, of number: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> [KeyEntry] {
    try await partition(number).read(on: reactor) { (file) throws(SQLiteFailure) in
      try file.keys(in: range, after: after, limit: limit, at: Timestamp.current())
    }
  }

  /// What has happened.
  public func events(
    in range: KeyRange, since: Int64, of number: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> EventPage {
    try await partition(number).read(on: reactor) { (file) throws(SQLiteFailure) in
      try file.events(in: range, since: since)
    }
  }

  /// Values past their time.
  public func expired(
    in number: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> (keys: [StoreKey], next: Timestamp?) {
    try await partition(number).read(on: reactor) { (file) throws(SQLiteFailure) in
      (keys: try file.expired(at: Timestamp.current()), next: try file.nextExpiry())
    }
  }

  /// Counts rows, and bytes of files.
  public func figures(of number: Int, on reactor: isolated Reactor) async throws(StoreError) -> PartitionFigures {
    let place = folder.place(of: number)
    return try await partition(number).read(on: reactor) { (file) throws(SQLiteFailure) in
      var figures = try file.figures(at: Timestamp.current())
      figures.fileBytes = place.bytes
      return figures
    }
  }

  /// Forgets the names of changes that are old enough.
  public func tidy(_ number: Int, on reactor: isolated Reactor) async throws(StoreError) -> Bool {
    try await partition(number).write(on: reactor) { (file) throws(SQLiteFailure) in
      try file.forgetNames(at: Timestamp.current())
    }
  }
}
