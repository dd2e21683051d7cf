import CLinux

/// A point on the kernel's monotonic clock, in nanoseconds: what deadlines, leases held in memory and latencies are
/// measured with. It never jumps; its zero has no meaning.
public struct MonotonicTime: Comparable, Hashable, Sendable {
  /// Nanoseconds since the clock's arbitrary zero.
  public var nanoseconds: UInt64

  /// A point `nanoseconds` after the clock's zero.
  @inlinable
  public init(nanoseconds: UInt64) {
    self.nanoseconds = nanoseconds
  }

  /// A deadline that never comes.
  public static let never = MonotonicTime(nanoseconds: .max)

  /// Reads `CLOCK_MONOTONIC`, about 20 ns. Inside a reactor prefer `reactor.now`, which is read once a turn.
  public static func current() -> MonotonicTime {
    MonotonicTime(nanoseconds: clinux_monotonic_ns())
  }

  /// The later point, saturating at `never`.
  @inlinable
  public static func + (time: MonotonicTime, span: TimeSpan) -> MonotonicTime {
    let (sum, overflow) = time.nanoseconds.addingReportingOverflow(span.nanoseconds)
    return overflow ? .never : MonotonicTime(nanoseconds: sum)
  }

  /// The span from `earlier` to this point, 0 if `earlier` is in fact later.
  @inlinable
  public func since(_ earlier: MonotonicTime) -> TimeSpan {
    TimeSpan(nanoseconds: nanoseconds > earlier.nanoseconds ? nanoseconds - earlier.nanoseconds : 0)
  }

  /// Whole milliseconds since the clock's zero, rounded down.
  @inlinable
  public var milliseconds: UInt64 { nanoseconds / 1_000_000 }

  /// Earlier comes first.
  @inlinable
  public static func < (left: MonotonicTime, right: MonotonicTime) -> Bool {
    left.nanoseconds < right.nanoseconds
  }
}

/// A length of time in nanoseconds, never negative.
public struct TimeSpan: Comparable, Hashable, Sendable {
  /// The length in nanoseconds.
  public var nanoseconds: UInt64

  /// A span of `nanoseconds`.
  @inlinable
  public init(nanoseconds: UInt64) {
    self.nanoseconds = nanoseconds
  }

  /// A span of whole milliseconds.
  @inlinable
  public static func milliseconds(_ count: UInt64) -> TimeSpan {
    TimeSpan(nanoseconds: count &* 1_000_000)
  }

  /// A span of whole seconds.
  @inlinable
  public static func seconds(_ count: UInt64) -> TimeSpan {
    TimeSpan(nanoseconds: count &* 1_000_000_000)
  }

  /// A span of `count` seconds; negative and not-a-number become 0, anything past 100 years is cut there.
  public static func seconds(_ count: Double) -> TimeSpan {
    guard count > 0 else { return TimeSpan(nanoseconds: 0) }
    return TimeSpan(nanoseconds: UInt64(min(count, 3_155_760_000) * 1e9))
  }

  /// The length in seconds.
  @inlinable
  public var seconds: Double { Double(nanoseconds) / 1e9 }

  /// Whole milliseconds, rounded down.
  @inlinable
  public var milliseconds: UInt64 { nanoseconds / 1_000_000 }

  /// Shorter comes first.
  @inlinable
  public static func < (left: TimeSpan, right: TimeSpan) -> Bool {
    left.nanoseconds < right.nanoseconds
  }
}
