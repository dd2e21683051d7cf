import Basics
import Caching

/// The newest values that a server has in memory. What is in it was durable, and is what its key has: a key goes out
/// when a change of it is on its way and comes in again when that is done, and what was read beside a change stays out.
///
/// An entry bears the term of its partition, which is another one whenever that was opened anew: so all that was known
/// of a partition is forgotten at once when it is given up, or when its file has failed.
final class ValueCache {
  /// Somebody reads a key to have it kept; not good any more once there was a change that the read may have missed.
  final class Load {
    fileprivate var isGood = true
    fileprivate var readers = 0
  }

  private struct Entry {
    let version: StoredVersion
    let term: UInt64
  }

  private var entries: S3FIFO<StoreKey, Entry>
  private var loads: [StoreKey: Load] = [:]
  private let lifetime: TimeSpan

  init(entriesMax: Int, bytesMax: Int, lifetime: TimeSpan) {
    entries = S3FIFO(entriesMax: entriesMax, bytesMax: bytesMax)
    self.lifetime = lifetime
  }

  var count: Int { entries.count }
  var statistics: CacheStatistics { entries.statistics }

  func value(of key: StoreKey, term: UInt64, at now: MonotonicTime) -> StoredVersion? {
    guard let entry = entries.value(for: key, at: now)?.value, entry.term == term else { return nil }
    return entry.version
  }

  func set(_ version: StoredVersion, of key: StoreKey, term: UInt64, at now: MonotonicTime) {
    let bytes = key.bytes.count + (version.value?.count ?? 0) + Limits.cacheEntryBytes
    entries.set(Entry(version: version, term: term), for: key, bytes: bytes, expiry: now + lifetime, at: now)
  }

  /// A change of `key` is on its way, or done.
  func forget(_ key: StoreKey) {
    entries.remove(key)
    if let load = loads.removeValue(forKey: key) { load.isGood = false }
  }

  func beganLoad(of key: StoreKey) -> Load {
    let load = loads[key] ?? Load()
    loads[key] = load
    load.readers += 1
    return load
  }

  /// Whether what was read may be kept: there was no change since `beganLoad`.
  func ended(_ load: Load, of key: StoreKey) -> Bool {
    load.readers -= 1
    if load.readers == 0, load.isGood { loads[key] = nil }
    return load.isGood
  }
}
