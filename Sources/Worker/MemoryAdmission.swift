import Hashing
import Reactor
import Telemetry

/// Lets computations take memory as long as all of them together stay within a budget; the others wait for their turn.
final class MemoryAdmission {
  private var budget: MemoryBudget<UnsafeContinuation<Void, Never>>

  private let held: Gauge

  /// Admission to `bytesMax` bytes; `held` shows how many are handed out.
  init(bytesMax: Int, held: Gauge) {
    budget = MemoryBudget(bytesMax: bytesMax)
    self.held = held
  }

  /// Bytes handed out now.
  var bytesUsed: Int { budget.bytesUsed }

  /// Waits until `bytes` are free and takes them until `release`; false if they never will be, because they are more
  /// than the whole budget or too many wait already.
  func take(_ bytes: Int, on reactor: isolated Reactor) async -> Bool {
    // What takes none waits for nobody.
    if bytes == 0 { return true }
    switch budget.request(bytes) {
    case .granted:
      held.set(bytesUsed)
      return true
    case .tooLarge, .refused: return false
    case .mustWait:
      await withUnsafeContinuation { budget.wait($0, for: bytes) }
      return true
    }
  }

  /// Gives `bytes` back, and lets those go on who have waited for them.
  func release(_ bytes: Int, on reactor: isolated Reactor) {
    budget.release(bytes) { $0.resume() }
    held.set(bytesUsed)
  }
}
