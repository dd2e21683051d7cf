/// Exponential backoff with full jitter: attempt n waits a random time up to `base` doubled n times, at most `cap`,
/// and never less than a tenth of that, so that a crowd of clients that lost one server does not return as a crowd
/// ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
public struct Backoff: Sendable {
  /// The longest wait before the first retry.
  public let base: TimeSpan
  /// The longest wait before any retry.
  public let cap: TimeSpan
  /// How many waits were handed out since the last success.
  public private(set) var attempts = 0

  /// A sequence that starts at `base` and is cut at `cap`.
  public init(base: TimeSpan, cap: TimeSpan) {
    self.base = base
    self.cap = cap
  }

  /// How long to wait before the next attempt.
  public mutating func next(using random: inout SeededRandom) -> TimeSpan {
    let doubled = base.nanoseconds.multipliedReportingOverflow(by: 1 << UInt64(min(attempts, 40)))
    let ceiling = doubled.overflow ? cap.nanoseconds : min(doubled.partialValue, cap.nanoseconds)
    attempts += 1
    return TimeSpan(nanoseconds: UInt64.random(in: ceiling / 10...max(ceiling, 1), using: &random))
  }

  /// A success: the next failure starts from `base` again.
  public mutating func reset() {
    attempts = 0
  }
}
