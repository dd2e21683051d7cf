import Basics

/// Decides who may take memory now, so that hashes computed in parallel never exceed a budget.
///
/// Strictly first come, first served: a large job at the head is not overtaken by small ones for ever. It is a plain
/// value that decides; its owner resumes whoever it names.
public struct MemoryBudget<Waiter> {
  /// What becomes of a request for memory.
  public enum Decision: Equatable, Sendable {
    /// Go on; give the bytes back with `release`.
    case granted
    /// Register with `wait`; `release` will name the waiter when its turn has come.
    case mustWait
    /// More than the whole budget, it could never be granted.
    case tooLarge
    /// Too many wait already.
    case refused
  }

  /// The budget in bytes.
  public let bytesMax: Int
  /// Bytes handed out now.
  public private(set) var bytesUsed = 0
  private var waiting = RingQueue<(waiter: Waiter, bytes: Int)>()

  /// A budget of `bytesMax` bytes, all of it free.
  public init(bytesMax: Int) {
    precondition(bytesMax > 0, "a budget needs bytes")
    self.bytesMax = bytesMax
  }

  /// Asks for `bytes`, 0 or more.
  public mutating func request(_ bytes: Int) -> Decision {
    precondition(bytes >= 0, "asked for a negative amount")
    if bytes > bytesMax { return .tooLarge }
    if waiting.isEmpty, bytesUsed + bytes <= bytesMax {
      bytesUsed += bytes
      return .granted
    }
    return waiting.count < Limits.budgetWaitersMax ? .mustWait : .refused
  }

  /// Registers somebody whose request for `bytes` was told to wait.
  public mutating func wait(_ waiter: Waiter, for bytes: Int) {
    waiting.append((waiter, bytes))
  }

  /// Gives `bytes` back and takes those out of the queue who may go on now; `body` resumes each.
  public mutating func release(_ bytes: Int, _ body: (Waiter) -> Void) {
    precondition(bytes >= 0 && bytes <= bytesUsed, "gave back more than was taken")
    bytesUsed -= bytes
    while let next = waiting.first, bytesUsed + next.bytes <= bytesMax {
      bytesUsed += next.bytes
      _ = waiting.popFirst()
      body(next.waiter)
    }
  }
}
