public import Basics
public import Caching
public import Reactor
public import Telemetry

/// The keys of one server: finds the partition of each, makes it this server's if need be, and asks it. It lives on one
/// reactor.
public final class Store {
  /// How many partitions there are.
  public let partitionCount: Int
  /// The most values in memory.
  public let cacheEntriesMax: Int
  private let engine: any StoreEngine
  private let cache: ValueCache
  private let partitions: [Partition]

  /// The keys that `engine` keeps in `partitionCount` partitions, of which up to `cacheEntriesMax` values that take up
  /// to `cacheBytesMax` are kept in memory, for `Limits.cacheLifetime` each.
  public init(
    _ engine: any StoreEngine, partitionCount: Int, cacheEntriesMax: Int, cacheBytesMax: Int, metrics: Metrics
  ) {
    (self.engine, self.partitionCount, self.cacheEntriesMax) = (engine, partitionCount, cacheEntriesMax)
    let cache = ValueCache(entriesMax: cacheEntriesMax, bytesMax: cacheBytesMax, lifetime: Limits.cacheLifetime)
    let terms = Partition.Terms()
    self.cache = cache
    let counts = PartitionMetrics(metrics)
    partitions = (0..<partitionCount).map { Partition($0, engine, cache, terms, counts) }
  }

  /// What keeps the engine from answering anything at all, for people; nil if nothing does.
  public var missing: String? { engine.missing }

  /// The partition of a key.
  public func partition(of key: StoreKey) -> Int { Placement.partition(of: key, of: partitionCount) }

  /// Those of the partitions that this server has.
  public var open: [Int] { partitions.indices.filter { partitions[$0].isOpen } }

  /// Whether this server has a partition.
  public func holds(_ partition: Int) -> Bool { partitions[partition].isOpen }

  /// Makes a partition this server's, unless it is.
  public func open(_ partition: Int, on reactor: isolated Reactor) async throws(StoreError) {
    try await partitions[partition].open(on: reactor)
  }

  /// The same to look at it, with lists and news; what is being given up stays so.
  public func openForLook(_ partition: Int, on reactor: isolated Reactor) async throws(StoreError) {
    try await partitions[partition].openForLook(on: reactor)
  }

  /// Gives a partition to whoever takes it, unless something but lists and news was asked of it within
  /// `span`.
  /// - Returns: whether this server does not have it.
  public func leave(_ partition: Int, unusedFor span: TimeSpan, on reactor: isolated Reactor) async -> Bool {
    let its = partitions[partition]
    await its.settle(on: reactor)
    guard its.isOpen else { return true }
    guard its.isUnused(for: span, at: reactor.now) else { return false }
    await its.leave(on: reactor)
    return true
  }

  /// Who has each partition; nil for those that nobody has.
  public func holders(on reactor: isolated Reactor) async -> [String?] { await engine.holders(on: reactor) }

  /// Gives all partitions up.
  public func close(on reactor: isolated Reactor) async {
    for partition in partitions { await partition.leave(on: reactor) }
  }

  // MARK: Keys

  /// What a key has now, a value or a deletion, and whether it was in memory.
  public func newest(
    _ key: StoreKey, on reactor: isolated Reactor
  ) async throws(StoreError) -> (lookup: Lookup, isCached: Bool) {
    try await partitions[partition(of: key)].newest(key, on: reactor)
  }

  /// One version of a key.
  public func version(
    _ number: Int64, of key: StoreKey, on reactor: isolated Reactor
  ) async throws(StoreError) -> Lookup {
    let partition = partition(of: key)
    return try await partitions[partition].use(on: reactor) { (engine, reactor) throws(StoreError) in
      try await engine.lookUp(key, version: number, in: partition, on: reactor)
    }
  }

  /// The versions of a key before `before`, the newest first.
  public func history(
    _ key: StoreKey, before: Int64?, limit: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> [StoredVersion] {
    let partition = partition(of: key)
    return try await partitions[partition].use(on: reactor) { (engine, reactor) throws(StoreError) in
      try await engine.history(key, before: before, limit: limit, in: partition, on: reactor)
    }
  }

  /// Does a change, whose keys are all of one partition, and returns when it is durable.
  public func change(_ change: Change, on reactor: isolated Reactor) async throws(StoreError) -> ChangeOutcome {
    let partition = partition(of: change.steps[0].key)
    precondition(change.steps.allSatisfy { self.partition(of: $0.key) == partition }, "a change of two partitions")
    return try await partitions[partition].change(change, on: reactor)
  }

  /// Up to `limit` keys of a range behind `after` that have a value, over all of `numbers`, in the order of their
  /// bytes.
  public func keys(
    in range: KeyRange, after: StoreKey?, limit: Int, of numbers: [Int], on reactor: isolated Reactor
  ) async throws(StoreError) -> [KeyEntry] {
    var all: [KeyEntry] = []
    for partition in numbers {
      all += try await partitions[partition].use(isLook: true, on: reactor) { (engine, reactor) throws(StoreError) in
        try await engine.keys(in: range, after: after, limit: limit, of: partition, on: reactor)
      }
    }
    if numbers.count > 1 { all.sort { $0.key < $1.key } }
    return Array(all.prefix(limit))
  }

  // MARK: News

  /// The newest revision of a partition that was acknowledged here.
  public func revision(of partition: Int) -> Int64 { partitions[partition].revision }

  /// Asks how far a partition is where other servers change it, too, so that `revision` is no older than now.
  public func lookForNewest(in partition: Int, on reactor: isolated Reactor) async throws(StoreError) {
    try await partitions[partition].lookForNewest(on: reactor)
  }

  /// What has happened to keys of a range since a revision, as far as one look goes.
  public func events(
    in range: KeyRange, since: Int64, of partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> EventPage {
    try await partitions[partition].events(in: range, since: since, on: reactor)
  }

  /// Ends `pause` with each change of one of these partitions, and when one is given up, until `unwatch`.
  public func watch(_ numbers: [Int], _ pause: Pause, on reactor: isolated Reactor) {
    for number in numbers { partitions[number].watch(pause, on: reactor) }
  }

  /// Ends that.
  public func unwatch(_ numbers: [Int], _ pause: Pause) {
    for number in numbers { partitions[number].unwatch(pause) }
  }

  // MARK: Figures

  /// How much there is in a partition.
  public func figures(of partition: Int, on reactor: isolated Reactor) async throws(StoreError) -> PartitionFigures {
    try await partitions[partition].use(on: reactor) { (engine, reactor) throws(StoreError) in
      try await engine.figures(of: partition, on: reactor)
    }
  }

  /// Values in memory.
  public var cacheCount: Int { cache.count }

  /// What became of lookups in memory.
  public var cacheStatistics: CacheStatistics { cache.statistics }
}
