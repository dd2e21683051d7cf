import Basics

/// Decides whether it is worth trying a server that has failed.
///
///     closed ──failures in a row──► open ──its time is over──► trying ──success──► closed
///                                    ▲                            │
///                                    └────── twice as long ───────┘ failure
///
/// While open nothing is let through; while trying, one attempt. A pure value: time is passed in.
struct CircuitBreaker: Sendable {
  private enum State {
    /// May become open.
    case closed(failures: Int)
    /// May become trying.
    case open(until: MonotonicTime)
    /// May become closed or open.
    case trying
  }

  private var state = State.closed(failures: 0)
  private var openings = 0
  private let failuresMax: Int
  private let openSpan: TimeSpan
  private let openSpanMax: TimeSpan

  /// A closed breaker that opens after `failuresMax` failures in a row, first for `openSpan`.
  public init(
    failuresMax: Int = Limits.breakerFailures, openSpan: TimeSpan = .milliseconds(Limits.breakerOpenMs),
    openSpanMax: TimeSpan = .milliseconds(Limits.breakerOpenMaxMs)
  ) {
    self.failuresMax = failuresMax
    self.openSpan = openSpan
    self.openSpanMax = openSpanMax
  }

  /// Whether everything is let through.
  public var isClosed: Bool {
    if case .closed = state { true } else { false }
  }

  /// When the next attempt may be made, nil if at once.
  var retryTime: MonotonicTime? {
    if case .open(let until) = state { until } else { nil }
  }

  /// Whether an attempt may be made; every `true` is followed by `succeeded` or `failed`.
  mutating func admits(at now: MonotonicTime) -> Bool {
    switch state {
    case .closed: return true
    case .trying: return false
    case .open(let until):
      guard now >= until else { return false }
      state = .trying
      return true
    }
  }

  /// An attempt went well. One that had begun before the breaker opened proves nothing.
  public mutating func succeeded() {
    switch state {
    case .closed(failures: 0), .open: break
    case .closed, .trying:
      state = .closed(failures: 0)
      openings = 0
    }
  }

  /// One or several attempts failed together.
  public mutating func failed(at now: MonotonicTime) {
    switch state {
    case .closed(let failures) where failures + 1 < failuresMax: state = .closed(failures: failures + 1)
    case .open: break
    case .closed, .trying:
      let doubled = openSpan.nanoseconds << UInt64(min(openings, 16))
      openings += 1
      state = .open(until: now + TimeSpan(nanoseconds: min(doubled, openSpanMax.nanoseconds)))
    }
  }
}
