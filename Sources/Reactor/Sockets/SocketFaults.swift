import Basics
import Glibc

/// Faults that a test puts between a `Pump` and the kernel, drawn from a seed: reads and writes that fail, bring a
/// single byte, or come a turn later. The same seed gives the same sequence.
public final class SocketFaults {
  /// Which call is about to be made.
  public enum Call: Sendable {
    /// A read.
    case receive
    /// A write.
    case send
  }

  /// What happens instead.
  public enum Fault: Equatable, Sendable {
    /// The call is made as it is.
    case none
    /// It moves one byte at the most.
    case short
    /// It is not made now; the kernel reports the descriptor again.
    case late
    /// It fails with this `errno`.
    case failed(CInt)
  }

  /// How many writes were made.
  public private(set) var writes = 0
  private var random: SeededRandom
  private let shortPerMille: UInt64
  private let latePerMille: UInt64
  private let failedPerMille: UInt64

  /// Faults of so many calls in a thousand each, which together are at most a thousand.
  public init(seed: UInt64, shortPerMille: UInt64 = 0, latePerMille: UInt64 = 0, failedPerMille: UInt64 = 0) {
    precondition(shortPerMille + latePerMille + failedPerMille <= 1000, "more faults than calls")
    random = SeededRandom(seed: seed)
    self.shortPerMille = shortPerMille
    self.latePerMille = latePerMille
    self.failedPerMille = failedPerMille
  }

  /// What becomes of the next call.
  public func next(_ call: Call) -> Fault {
    if call == .send { writes += 1 }
    var draw = random.next() % 1000
    if draw < shortPerMille { return .short }
    draw -= shortPerMille
    if draw < latePerMille { return .late }
    draw -= latePerMille
    guard draw < failedPerMille else { return .none }
    return .failed(call == .send && draw % 2 == 0 ? EPIPE : ECONNRESET)
  }
}
