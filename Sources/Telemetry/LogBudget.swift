public import Basics

/// Bounds lines that one cause would repeat for every request: so many a second are written, the others counted.
public struct LogBudget: Sendable {
  private let linesPerSecond: Int
  private var second: UInt64 = 0
  private var written = 0
  private var suppressed = 0

  /// A budget of `linesPerSecond` lines.
  public init(linesPerSecond: Int) {
    self.linesPerSecond = linesPerSecond
  }

  /// How many lines were suppressed that nobody has been told of; from now on they count as told.
  public mutating func takeSuppressed() -> Int {
    defer { suppressed = 0 }
    return suppressed
  }

  /// Whether lines were suppressed, and the second is over in which they were.
  func owes(at now: MonotonicTime) -> Bool { suppressed > 0 && now.nanoseconds / 1_000_000_000 != second }

  /// Asks for one line at `now`.
  /// - Returns: how many lines were suppressed since the last one that was written; nil if this one is suppressed too.
  public mutating func admit(at now: MonotonicTime) -> Int? {
    let present = now.nanoseconds / 1_000_000_000
    if present != second {
      second = present
      written = 0
    }
    guard written < linesPerSecond else {
      suppressed += 1
      return nil
    }
    written += 1
    defer { suppressed = 0 }
    return suppressed
  }
}
