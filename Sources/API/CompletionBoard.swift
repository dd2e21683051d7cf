import Basics
import HTTP
import Reactor
import TaskQueue

/// Clients that wait for a task: a table from id to those who wait, and the ids that were over lately, because news of
/// a completion may overtake the answer to its own submission.
final class CompletionBoard {
  private var waiters: [Int64: [ObjectIdentifier: Pause]] = [:]
  /// When it was told of each id, as a number that grows.
  private var told: [Int64: Int] = [:]
  private var toldOrder = RingQueue<Int64>()
  /// How often it was told anything: news that comes from now on is later than this.
  private(set) var moment = 0
  /// How many clients wait, and who is told of it.
  private(set) var count = 0 {
    didSet { counted(count) }
  }
  var counted: (Int) -> Void
  /// Whether nobody is to wait any more.
  private var isStopping = false
  /// Whether news arrives at present.
  var hasNews = false {
    // What ended while nobody listened is found by looking.
    didSet { if hasNews && !oldValue { wakeAll() } }
  }

  /// A board at which nobody waits; `counted` is told how many do whenever that changes.
  init(counted: @escaping (Int) -> Void = { _ in }) {
    self.counted = counted
  }

  /// Waits until somebody says that task `id` is over, unless somebody has said so after `moment` (0: ever), for as
  /// long as the client of `request` waits.
  /// - Returns: false if nobody did by `deadline`, before the client has ended its side, or before the stop.
  func wait(
    for id: Int64, since moment: Int, _ request: HTTPRequest, until deadline: MonotonicTime,
    on reactor: isolated Reactor
  ) async -> Bool {
    if let last = told[id], last > moment { return true }
    if isEnded(request) { return false }
    let waiter = Pause()
    // Ten thousand may wait for the same task, and leave together.
    waiters[id, default: [:]][ObjectIdentifier(waiter)] = waiter
    request.whenClientEnds { waiter.end() }
    count += 1
    let wasTold = await waiter.wait(until: deadline, on: reactor)
    count -= 1
    waiters[id]?[ObjectIdentifier(waiter)] = nil
    if waiters[id]?.isEmpty == true { waiters[id] = nil }
    return wasTold && !isEnded(request)
  }

  /// Whether the client of `request` is to be answered with what is known by now.
  func isEnded(_ request: HTTPRequest) -> Bool { isStopping || request.hasClientEnded }

  /// The process stops: whoever waits is answered with what is known by now, and nobody waits any more.
  func stop() {
    isStopping = true
    wakeAll()
  }

  /// Tasks `ids` are over.
  func completed(_ ids: [Int64]) {
    for id in ids {
      moment += 1
      if told.updateValue(moment, forKey: id) == nil {
        toldOrder.append(id)
        if toldOrder.count > Limits.recentCompletionsMax, let oldest = toldOrder.popFirst() { told[oldest] = nil }
      }
      for waiter in waiters[id, default: [:]].values { waiter.end() }
    }
  }

  /// There is something new about tasks `ids`: whoever waits for one of them looks.
  func changed(_ ids: [Int64]) {
    for id in ids {
      for waiter in waiters[id, default: [:]].values { waiter.end() }
    }
  }

  private func wakeAll() {
    for all in waiters.values {
      for waiter in all.values { waiter.end() }
    }
  }
}
