import Basics
import Reactor
import TaskQueue

/// Clients that wait for a task: a table from id to those who wait, and the ids that were over lately, because news of
/// a completion may overtake the answer to its own submission.
final class CompletionBoard {
  private var waiters: [Int64: [Pause]] = [:]
  private var recent: Set<Int64> = []
  private var recentOrder = RingQueue<Int64>()
  /// How many clients wait.
  private(set) var count = 0
  /// Whether news arrives at present.
  var hasNews = false {
    // What ended while nobody listened is found by looking.
    didSet { if hasNews && !oldValue { wakeAll() } }
  }

  /// Waits until somebody says that task `id` is over; with `recalls` also if somebody has said so lately.
  /// - Returns: false if nobody did by `deadline`.
  func wait(
    for id: Int64, recalls: Bool, until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async -> Bool {
    if recalls, recent.contains(id) { return true }
    let waiter = Pause()
    waiters[id, default: []].append(waiter)
    count += 1
    let wasTold = await waiter.wait(until: deadline, on: reactor)
    count -= 1
    waiters[id]?.removeAll { $0 === waiter }
    if waiters[id]?.isEmpty == true { waiters[id] = nil }
    return wasTold
  }

  /// Tasks `ids` are over.
  func completed(_ ids: [Int64]) {
    for id in ids {
      if recent.insert(id).inserted {
        recentOrder.append(id)
        if recentOrder.count > Limits.recentCompletionsMax, let oldest = recentOrder.popFirst() {
          recent.remove(oldest)
        }
      }
      for waiter in waiters[id] ?? [] { waiter.end() }
    }
  }

  private func wakeAll() {
    for waiter in waiters.values.joined() { waiter.end() }
  }
}
