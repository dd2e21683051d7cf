public import Basics

/// A level of a cache, the nearest first.
public enum CacheLevel: Int, CaseIterable, Sendable {
  /// A process's own memory.
  case l1 = 1
  /// What all processes share.
  case l2
  /// Where also the source is.
  case l3

  /// `L1`, as answers tell it.
  public var name: StaticString {
    switch self {
    case .l1: "L1"
    case .l2: "L2"
    case .l3: "L3"
    }
  }

  /// The level called `name`, nil if there is none.
  public init?(name: String) {
    guard let level = CacheLevel.allCases.first(where: { $0.name.description == name.uppercased() }) else { return nil }
    self = level
  }
}

/// How long a value may be answered from each level of a cache that changes with its source.
///
///     loaded ──► L1 60 s, L2 300 s, L3 1 h          each a little shorter, by chance
///     found in L3 ──► L2, as long as L3 would have had it, 300 s at most
///     found in L2 ──► L1, as long as L2 would have had it,  60 s at most
///
/// So a value climbs one level a hit and never outlives the copy that it came from. Lifetimes differ by chance, or
/// values that were loaded together would be missed together.
public struct LevelTimes: Sendable {
  /// How long a value stays in a process's memory at most,
  public var l1 = TimeSpan.seconds(60 as UInt64)
  /// in what processes share,
  public var l2 = TimeSpan.seconds(300 as UInt64)
  /// and beside the source.
  public var l3 = TimeSpan.seconds(3600 as UInt64)
  /// How long it is believed that there is no value.
  public var negative = TimeSpan.seconds(1 as UInt64)
  /// How long after its end a value in memory of which no change was heard is still answered, while it is loaded anew
  /// (RFC 5861 §3),
  public var staleWhileLoaded = TimeSpan.seconds(30 as UInt64)
  /// and how long where it cannot be loaded (RFC 5861 §4).
  public var staleIfFailed = TimeSpan.seconds(300 as UInt64)
  /// By how many hundredths a lifetime may be shorter, 0 to 100.
  var jitterPercent: UInt64 = 10

  /// The times above.
  public init() {}

  /// How long a value that was just loaded is kept in `level`, `wish` at most.
  public func lifetime(
    in level: CacheLevel, wish: TimeSpan? = nil, using random: inout SeededRandom
  ) -> TimeSpan {
    let most = min(most(in: level), wish ?? .seconds(.infinity as Double))
    let jitter = most.nanoseconds / 100 * UInt64.random(in: 0...jitterPercent, using: &random)
    return TimeSpan(nanoseconds: most.nanoseconds - jitter)
  }

  /// Where a value climbs to that was found in `level`, which would have had it for `remaining` still, and how long it
  /// is kept there; nil at the top.
  public func promotion(
    from level: CacheLevel, remaining: TimeSpan, wish: TimeSpan? = nil, using random: inout SeededRandom
  ) -> (level: CacheLevel, lifetime: TimeSpan)? {
    guard let above = CacheLevel(rawValue: level.rawValue - 1) else { return nil }
    return (above, min(remaining, lifetime(in: above, wish: wish, using: &random)))
  }

  private func most(in level: CacheLevel) -> TimeSpan {
    switch level {
    case .l1: l1
    case .l2: l2
    case .l3: l3
    }
  }
}
