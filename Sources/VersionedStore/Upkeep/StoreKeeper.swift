import Basics
import Glibc
import Reactor

/// What tools do with the files of a store, on the thread that calls: take them out as lines, put them in, copy and
/// clean them. Reading does not need a partition's lock, so a server may go on beside it; writing does.
public struct StoreKeeper {
  private let folder: StoreFolder
  private let holder: String

  /// A tool, called `holder` beside the partitions that it has, for the files in `folder`.
  public init(_ folder: StoreFolder, holder: String) {
    (self.folder, self.holder) = (folder, holder)
  }

  /// Calls `body` with every version of every key. Of each partition it is what was committed at one moment.
  /// - Throws: `StoreError`.
  public func forEachLine(_ body: (ArchiveLine) -> Void) throws(StoreError) {
    for partition in 0..<folder.partitions {
      guard let file = try reading(partition) else { continue }
      defer { file.close() }
      try StoreKeeper.told { () throws(SQLiteFailure) in try file.forEachLine(body) }
    }
  }

  /// Copies all partitions, each as it is at one moment, into a folder that is made for them and that a server can use.
  /// - Throws: `StoreError`.
  public func backUp(to path: String) throws(StoreError) {
    // A part of the copy must not pass for all of it, whatever becomes of this process.
    let target = try StoreFolder(unfinished: path, partitions: folder.partitions)
    for partition in 0..<folder.partitions {
      let place = target.place(of: partition)
      guard let file = try reading(partition) else { continue }
      defer { file.close() }
      try StoreKeeper.told { () throws(SQLiteFailure) in try file.connection.backUp(to: place.path) }
    }
    try target.finish()
  }

  /// A partition's file; nil if it was never made.
  private func reading(_ partition: Int) throws(StoreError) -> PartitionFile? {
    let place = folder.place(of: partition)
    guard access(place.path, F_OK) == 0 else { return nil }
    return try StoreKeeper.told { () throws(SQLiteFailure) in try PartitionFile.openForReading(place) }
  }

  // MARK: Putting in

  /// Puts lines in as `next` gives them, until it gives nil. None of their keys may be there.
  /// - Returns: how many there were.
  /// - Throws: `StoreError`: of the keys before the one that it speaks of some may have been put in.
  public func fill(_ next: () throws(StoreError) -> ArchiveLine?) throws(StoreError) -> Int {
    var files: [Int: (lock: PartitionLock, file: PartitionFile)] = [:]
    defer { for (_, file) in files.values { StoreKeeper.finish(file) } }
    var count = 0
    var last: ArchiveLine?
    while let line = try next() {
      if let last, last.key == line.key, line.version.version != last.version.version + 1 {
        throw .foreign("line \(count + 1): the versions of a key have a gap")
      }
      let partition = Placement.partition(of: line.key, of: folder.partitions)
      if files[partition] == nil { files[partition] = try writing(partition) }
      let file = files[partition]!.file
      let isFirst = last?.key != line.key
      try StoreKeeper.told { () throws(SQLiteFailure) in
        guard try file.take(line, isFirst: isFirst) else {
          throw SQLiteFailure.damage("line \(count + 1): this key is there already")
        }
      }
      last = line
      count += 1
    }
    for (lock, file) in files.values {
      try StoreKeeper.told { () throws(SQLiteFailure) in try file.endTaking() }
      lock.mark(file.revision)
    }
    return count
  }

  private func writing(_ partition: Int) throws(StoreError) -> (lock: PartitionLock, file: PartitionFile) {
    let lock = try lock(of: partition)
    let place = folder.place(of: partition)
    let file = try StoreKeeper.told { () throws(SQLiteFailure) in
      try PartitionFile.openForWriting(place, maxVersions: .max, acknowledged: lock.mark)
    }
    return (lock, file)
  }

  private func lock(of partition: Int) throws(StoreError) -> PartitionLock {
    let path = folder.place(of: partition).lockPath
    let outcome: PartitionLock.Outcome
    do throws(SystemError) { outcome = try PartitionLock.take(path, for: holder) } catch {
      throw .failed("\(path): \(error)")
    }
    switch outcome {
    case .held(let name): throw .held(by: name)
    case .taken(let lock): return lock
    }
  }

  private static func finish(_ file: PartitionFile) {
    // What is still open was not ended in good order, and is taken back.
    _ = try? file.connection.checkpoint(restarts: true)
    file.close()
  }

  // MARK: Cleaning

  /// How much there is in all partitions, and what of that nobody needs any more.
  /// - Throws: `StoreError`.
  public func survey(maxVersions: Int) throws(StoreError) -> (figures: PartitionFigures, waste: StoreWaste) {
    var (figures, waste) = (PartitionFigures(), StoreWaste())
    for partition in 0..<folder.partitions {
      guard let file = try reading(partition) else { continue }
      defer { file.close() }
      let found = try StoreKeeper.told { () throws(SQLiteFailure) in
        (try file.figures(at: Timestamp.current()), try file.waste(maxVersions: Int64(maxVersions)))
      }
      figures.keys += found.0.keys
      figures.versions += found.0.versions
      figures.fileBytes += folder.place(of: partition).bytes
      waste.versions += found.1.versions
      waste.bytes += found.1.bytes
      waste.names += found.1.names
    }
    return (figures, waste)
  }

  /// Removes what nobody needs any more, and makes the files smaller where no server has them.
  /// - Parameter isOnline: whether that is done beside servers that have partitions, too.
  /// - Throws: `StoreError`: `held` before anything was removed, unless `isOnline`.
  public func clean(maxVersions: Int, isOnline: Bool) throws(StoreError) {
    var locks: [Int: PartitionLock] = [:]
    for partition in 0..<folder.partitions {
      do throws(StoreError) { locks[partition] = try lock(of: partition) } catch {
        guard isOnline, case .held = error else { throw error }
      }
    }
    for partition in 0..<folder.partitions {
      let place = folder.place(of: partition)
      guard access(place.path, F_OK) == 0 else { continue }
      let lock = locks[partition]
      try StoreKeeper.told { () throws(SQLiteFailure) in
        let file = try StoreKeeper.cleaner(of: place, lock, maxVersions: Int64(maxVersions))
        defer { file.close() }
        try file.removeWaste()
        if lock != nil {
          try file.connection.run("vacuum")
          try file.connection.checkpoint(restarts: true)
        }
      }
    }
  }

  /// Beside a server it is another connection, which waits for its turn as SQLite has it.
  private static func cleaner(
    of place: PartitionPlace, _ lock: PartitionLock?, maxVersions: Int64
  ) throws(SQLiteFailure) -> PartitionFile {
    if let lock {
      return try PartitionFile.openForWriting(place, maxVersions: maxVersions, acknowledged: lock.mark)
    }
    return PartitionFile(try SQLiteConnection(place.path, creates: false), maxVersions: maxVersions)
  }

  private static func told<R>(_ body: () throws(SQLiteFailure) -> R) throws(StoreError) -> R {
    do throws(SQLiteFailure) { return try body() } catch { throw error.asStoreError }
  }
}
