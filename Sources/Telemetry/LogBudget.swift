public import Basics

/// Bounds lines that one cause would repeat for every request: some are written at once and then so many a second, the
/// others counted. A token bucket.
public struct LogBudget: Sendable {
  private let burst: Double
  private let perSecond: Double
  private var tokens: Double
  private var filledAt = MonotonicTime(nanoseconds: 0)
  private var suppressed = 0

  /// A budget of `burst` lines at once, which comes back at `perSecond` lines a second.
  public init(burst: Int, perSecond: Double) {
    self.burst = Double(burst)
    self.perSecond = perSecond
    tokens = self.burst
  }

  /// How many lines were suppressed that nobody has been told of; from now on they count as told.
  public mutating func takeSuppressed() -> Int {
    defer { suppressed = 0 }
    return suppressed
  }

  /// Whether lines were suppressed that nobody has been told of.
  var hasSuppressed: Bool { suppressed > 0 }

  /// Whether lines were suppressed and nobody has asked for a line since there is one again.
  func owes(at now: MonotonicTime) -> Bool { suppressed > 0 && level(at: now) >= 1 }

  /// Whether nobody has asked for a line for `span`, and nobody has to be told of any.
  func isUnused(for span: TimeSpan, at now: MonotonicTime) -> Bool { suppressed == 0 && now.since(filledAt) >= span }

  /// Asks for one line at `now`.
  /// - Returns: how many lines were suppressed since the last one that was written; nil if this one is suppressed too.
  public mutating func admit(at now: MonotonicTime) -> Int? {
    tokens = level(at: now)
    filledAt = now
    guard tokens >= 1 else {
      suppressed += 1
      return nil
    }
    tokens -= 1
    return takeSuppressed()
  }

  private func level(at now: MonotonicTime) -> Double {
    min(burst, tokens + now.since(filledAt).seconds * perSecond)
  }
}
