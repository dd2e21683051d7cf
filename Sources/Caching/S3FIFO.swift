public import Basics

/// A cache in memory, bounded by entries and by bytes, whose entries expire; evicts by S3-FIFO (Yang et al., "FIFO
/// queues are all you need for cache eviction", SOSP 2023).
///
///     new key ──► small (a tenth) ──hit twice──► main ──► out, unless hit since (then round again)
///                    └──not──► out, its hash remembered in ghost: comes back straight into main
///
/// One scan over many keys only passes through the small queue, and a hit costs an increment, no reordering. Keys are
/// compared whole; the ghost alone holds hashes, where a collision only costs a wrong guess of where to insert.
/// A value type for one reactor; it is inlinable because it is generic and used on the request path.
public struct S3FIFO<Key: Hashable, Value> {
  @usableFromInline
  struct Node {
    @usableFromInline var entry: (key: Key, value: Value)?
    @usableFromInline var expiry: MonotonicTime
    @usableFromInline var bytes: Int
    @usableFromInline var frequency: UInt8 = 0
    @usableFromInline var isMain: Bool
    /// Towards the newer neighbour, or the next free node; -1 at the end.
    @usableFromInline var newer: Int = -1
    /// Towards the older neighbour; -1 at the end.
    @usableFromInline var older: Int = -1

    @inlinable
    init(entry: (key: Key, value: Value), expiry: MonotonicTime, bytes: Int, isMain: Bool) {
      self.entry = entry
      self.expiry = expiry
      self.bytes = bytes
      self.isMain = isMain
    }
  }

  @usableFromInline
  struct Queue {
    @usableFromInline var newest = -1
    @usableFromInline var oldest = -1
    @usableFromInline var count = 0
    @usableFromInline var bytes = 0

    @inlinable
    init() {}
  }

  /// The most entries it holds.
  public let entriesMax: Int
  /// The most bytes it holds, as counted by those who store.
  public let bytesMax: Int
  /// What it has done so far.
  public private(set) var statistics = CacheStatistics()

  @usableFromInline var places: [Key: Int] = [:]
  @usableFromInline var nodes: [Node] = []
  @usableFromInline var free = -1
  @usableFromInline var small = Queue()
  @usableFromInline var main = Queue()
  @usableFromInline var ghost = GhostQueue()

  /// An empty cache.
  public init(entriesMax: Int, bytesMax: Int) {
    precondition(entriesMax > 0 && bytesMax > 0, "a cache needs room")
    self.entriesMax = entriesMax
    self.bytesMax = bytesMax
  }

  /// How many entries it holds, expired ones that nobody has met yet included.
  @inlinable
  public var count: Int { places.count }

  /// How many bytes its entries hold.
  @inlinable
  public var bytes: Int { small.bytes + main.bytes }

  /// The value for `key` with the time it expires at, nil if there is none that is still good at `now`.
  @inlinable
  public mutating func value(for key: Key, at now: MonotonicTime) -> (value: Value, expiry: MonotonicTime)? {
    guard let place = places[key] else {
      countLookup(hit: false)
      return nil
    }
    guard nodes[place].expiry > now, let entry = nodes[place].entry else {
      remove(at: place)
      countExpiration()
      countLookup(hit: false)
      return nil
    }
    if nodes[place].frequency < Limits.frequencyMax { nodes[place].frequency += 1 }
    countLookup(hit: true)
    return (entry.value, nodes[place].expiry)
  }

  /// Stores `value`, which holds `bytes`, until `expiry`; a value larger than the whole cache is not kept, and the one
  /// it would have replaced is dropped all the same.
  @inlinable
  public mutating func set(
    _ value: Value, for key: Key, bytes: Int, expiry: MonotonicTime, at now: MonotonicTime
  ) {
    precondition(bytes >= 0, "a value cannot hold less than nothing")
    guard bytes <= bytesMax, expiry > now else {
      remove(key)
      return
    }
    if let place = places[key] {
      adjustBytes(of: place, to: bytes)
      nodes[place].entry = (key, value)
      nodes[place].expiry = expiry
    } else {
      let node = Node(entry: (key, value), expiry: expiry, bytes: bytes, isMain: ghost.remove(key.hashValue))
      let place = allocate(node)
      places[key] = place
      pushNewest(place)
    }
    countSet()
    while count > entriesMax || self.bytes > bytesMax { evictOne(at: now) }
  }

  /// Drops the entry of `key` unless its value is good; whether it was dropped.
  @inlinable
  @discardableResult
  public mutating func remove(_ key: Key, unless isGood: (Value) -> Bool = { _ in false }) -> Bool {
    guard let place = places[key] else { return false }
    if let entry = nodes[place].entry, isGood(entry.value) { return false }
    remove(at: place)
    return true
  }

  /// Drops everything and says how much; the statistics stay.
  @inlinable
  @discardableResult
  public mutating func removeAll() -> Int {
    let removed = count
    places.removeAll()
    nodes.removeAll()
    free = -1
    small = Queue()
    main = Queue()
    ghost = GhostQueue()
    return removed
  }

  @usableFromInline
  mutating func countLookup(hit: Bool) {
    if hit { statistics.hits += 1 } else { statistics.misses += 1 }
  }

  @usableFromInline
  mutating func countSet() { statistics.sets += 1 }

  @usableFromInline
  mutating func countEviction() { statistics.evictions += 1 }

  @usableFromInline
  mutating func countExpiration() { statistics.expirations += 1 }
}
