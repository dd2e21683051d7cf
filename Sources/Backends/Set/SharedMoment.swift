public import Basics
import Synchronization

/// A point in time that one thread writes and others read.
public final class SharedMoment: Sendable {
  private let moment: Atomic<UInt64>

  /// The clock's zero, unless `now` is given.
  public init(_ now: MonotonicTime = MonotonicTime(nanoseconds: 0)) {
    moment = Atomic(now.milliseconds)
  }

  /// Milliseconds of the monotonic clock.
  public var ms: UInt64 {
    get { moment.load(ordering: .relaxed) }
    set { moment.store(newValue, ordering: .relaxed) }
  }
}
