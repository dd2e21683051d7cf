public import Basics
import Glibc

/// Decides that a copy is to be loaded anew a little before its end, so that nobody waits for that: the sooner the
/// longer a load takes, and each caller by chance for itself, so that of many who ask one begins and nobody has to
/// agree with anybody (A. Vattani, F. Chierichetti, K. Lowenstein, "Optimal Probabilistic Cache Stampede Prevention",
/// VLDB 2015).
public struct EarlyRefresh: Sendable {
  /// How long a load has taken lately, in seconds: an average in which each new one counts an eighth.
  private var loadSeconds = 0.0

  /// Knows no load yet, and refreshes nothing.
  public init() {}

  /// A load has taken `span`.
  public mutating func loaded(in span: TimeSpan) {
    loadSeconds += (span.seconds - loadSeconds) / 8
  }

  /// How long a load takes.
  public var usualLoad: TimeSpan { .seconds(loadSeconds) }

  /// Whether one who has found a copy that is good for `remaining` is to load it anew.
  public func wants(remaining: TimeSpan, using random: inout SeededRandom) -> Bool {
    // What is loaded that fast is not worth it.
    guard loadSeconds >= Limits.slowLoadSeconds else { return false }
    return remaining.seconds <= -loadSeconds * log(Double.random(in: .ulpOfOne...1, using: &random))
  }
}
