import Basics
import CLinux
import HTTPSyntax
public import Reactor
public import Telemetry

/// How many bytes the work of one reactor may hold for its peers at a time: bodies on their way in, answers on their
/// way out. Who needs more than there is parts with those whose peers are the slowest; if nobody can be parted with, it
/// is refused, and sheds its own work. Small work has a reserve of its own, so that a few large ones do not stop it.
///
/// Bytes that were given back stay with malloc(3), between what others hold; a moment after much was given back, so is
/// that memory.
public final class ByteBudget: EventHandler {
  /// Bytes in all.
  let limit: Int
  /// Bytes that are held.
  private(set) var used = 0

  /// What is held because a peer is slow.
  private var slow: [any SlowWork] = []
  /// What those hold who were parted with and have not unwound yet.
  private var leaving = 0
  /// Those who wait for room; the first looks for it.
  private(set) var line: [Pause] = []
  private var givenBack = 0
  private lazy var trimTimer = ReactorTimer(self)
  private let metrics: ByteBudgetMetrics

  /// A budget of `limit` bytes.
  public init(limit: Int, metrics: ByteBudgetMetrics) {
    self.limit = limit
    self.metrics = metrics
    super.init()
    metrics.limit.add(limit)
  }

  func enterLine(_ turn: Pause) { line.append(turn) }

  func leaveLine(_ turn: Pause) {
    line.removeAll { $0 === turn }
    line.first?.end()
  }

  /// Whether there is room for `amount` bytes as it is.
  func isFree(_ amount: Int) -> Bool { used + amount <= limit }

  /// Makes room for `amount` bytes of `lease`, if necessary at the expense of slow ones; whether there is room now.
  func take(_ amount: Int, for lease: any SlowWork, slowerThan pace: Double = .infinity, on reactor: isolated Reactor)
    -> Bool
  {
    let isSmall = lease.bytes + amount <= HTTPLimits.smallLeaseBytes
    let bound = isSmall ? limit + limit / 8 : limit
    if used + amount > bound { shed(until: bound - amount, sparing: lease, pace, on: reactor) }
    guard used + amount <= bound else {
      metrics.refused.increment()
      return false
    }
    used += amount
    metrics.used.add(amount)
    return true
  }

  /// Parts with slow peers, the slowest first, until no more than `most` bytes are held, or the slowest is `lease` or
  /// as fast as `paceMax`.
  private func shed(
    until most: Int, sparing lease: any SlowWork, _ paceMax: Double, on reactor: isolated Reactor
  ) {
    // One look for several needs: a part more is freed than is needed at once.
    let aim = most - limit / 64
    let order = slow.map { (lease: $0, pace: $0.pace(at: reactor.now)) }.sorted { $0.pace < $1.pace }
    var left = used - leaving
    for (slowest, pace) in order where slowest.bytes > 0 {
      if left <= aim || slowest === lease || pace >= paceMax { return }
      left -= slowest.bytes
      metrics.shed.increment()
      slowest.shed(on: reactor)
    }
  }

  /// Somebody who holds `amount` bytes is about to give them back.
  func leaves(with amount: Int) {
    leaving += amount
  }

  /// - Parameter wasLeaving: it was told before.
  func gave(back amount: Int, wasLeaving: Bool, on reactor: isolated Reactor) {
    used -= amount
    if wasLeaving { leaving -= amount }
    metrics.used.add(-amount)
    freed(amount, on: reactor)
  }

  /// Memory that was not counted was freed, or some that was.
  func freed(_ amount: Int, on reactor: isolated Reactor) {
    givenBack += amount
    let isEnough = givenBack >= (used == 0 ? HTTPLimits.trimBytesAtRest : HTTPLimits.trimBytes)
    if isEnough, !trimTimer.isArmed { reactor.arm(trimTimer, after: HTTPLimits.trimPause) }
  }

  func add(slow lease: any SlowWork) {
    lease.position = slow.count
    slow.append(lease)
  }

  func remove(slow lease: any SlowWork) {
    let last = slow.removeLast()
    if last !== lease {
      slow[lease.position] = last
      last.position = lease.position
    }
    lease.position = -1
  }

  /// Gives memory back to the system.
  public override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    givenBack = 0
    clinux_give_back_memory()
  }
}

/// The metrics of all budgets of a process.
public struct ByteBudgetMetrics: Sendable {
  /// Bytes that may be held.
  public let limit: Gauge
  /// Bytes that are held.
  public let used: Gauge
  /// Peers that were parted with.
  public let shed: Counter
  let refused: Counter

  /// Registers the metrics.
  public init(_ metrics: Metrics) {
    limit = metrics.gauge(
      "millrace_buffers_limit_bytes", "Bytes that bodies and answers in progress may hold together.")
    used = metrics.gauge("millrace_buffers_bytes", "Bytes that bodies and answers in progress hold.")
    shed = metrics.counter(
      "millrace_buffers_shed_total", "Peers that were parted with because they were the slowest and memory was short.")
    refused = metrics.counter(
      "millrace_buffers_refused_total", "Requests that were refused because memory was short and nobody was slower.")
  }
}
