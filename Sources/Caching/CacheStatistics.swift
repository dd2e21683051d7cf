/// What one cache level has done so far.
public struct CacheStatistics: Equatable, Sendable {
  /// Lookups that were answered.
  public var hits = 0
  /// Lookups that were not, expired entries included.
  public var misses = 0
  /// Values stored, replacements included.
  public var sets = 0
  /// Entries dropped for want of room.
  public var evictions = 0
  /// Entries found past their time.
  public var expirations = 0

  /// Values dropped because somebody said that they were not good any more.
  public var invalidations = 0
  /// Lookups that were answered past an entry's time, which are misses too.
  public var stale = 0

  /// Nothing done yet.
  public init() {}

  /// Both together.
  public static func + (left: CacheStatistics, right: CacheStatistics) -> CacheStatistics {
    var sum = left
    sum.hits += right.hits
    sum.misses += right.misses
    sum.sets += right.sets
    sum.evictions += right.evictions
    sum.expirations += right.expirations
    sum.invalidations += right.invalidations
    sum.stale += right.stale
    return sum
  }

  /// Hits per lookup, 0 to 1; 0 before the first.
  public var hitRate: Double { hits + misses == 0 ? 0 : Double(hits) / Double(hits + misses) }
}
