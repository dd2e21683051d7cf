import Basics
import HTTP
import Reactor
import Telemetry

/// What the sessions of one reactor hold of requests and responses that somebody does not take. Half of the bound is
/// free to use; behind that each holds less; past it the slowest are parted with.
final class HeldBytes {
  private let limit: Int
  private let metrics: ByteBudgetMetrics
  /// How many bytes are held.
  private(set) var count = 0
  /// What was given back since the system was given memory back.
  private var givenBack = 0

  /// Nothing of `limit` bytes.
  init(limit: Int, metrics: ByteBudgetMetrics) {
    self.limit = limit
    self.metrics = metrics
    metrics.limit.add(limit)
  }

  /// Whether so much is held that each should hold less.
  var isShort: Bool { count > limit / 2 }
  /// Whether somebody has to be parted with.
  var isExceeded: Bool { count > limit }

  /// Whether so much was given back that the system should get it: less while nothing is held.
  var hasGivenBackMuch: Bool {
    givenBack >= (count == 0 ? BalancerLimits.givenBackAtRestMax : BalancerLimits.givenBackMax)
  }

  /// Unsent bytes for a backend at which a client's body is not read any further.
  var unsentBytesMax: Int { isShort ? BalancerLimits.unsentBytesMin : BalancerLimits.unsentBytesMax }
  /// Bytes that are read at once for somebody who may not take them.
  var readBytesMax: Int { isShort ? BalancerLimits.unsentBytesMin : BalancerLimits.receiveBytes }

  /// A session holds `new` bytes instead of `old`.
  func changed(from old: Int, to new: Int) {
    count += new - old
    if new < old { givenBack += old - new }
    metrics.used.add(new - old)
  }

  /// Parts with those of `sessions` that have waited longest for whoever they wait for, until a part of the bound is
  /// free again. What is kept only in case that a request has to be sent again goes before that, from all of them: it
  /// costs nobody an answer.
  func shed(_ sessions: [HTTP1Session], on reactor: isolated Reactor) {
    guard isExceeded else { return }
    for session in sessions where session.heldBytes > 0 { session.forgetCopy(on: reactor) }
    guard isExceeded else { return }
    let holders = sessions.filter { $0.heldBytes > 0 }.map { (session: $0, since: $0.waitsSince) }
    for (session, _) in holders.sorted(by: { $0.since < $1.since }) {
      if count <= limit - limit / 16 { return }
      metrics.shed.increment()
      session.shed(on: reactor)
    }
  }

  /// The system was given memory back.
  func gaveBackMemory() {
    givenBack = 0
  }
}
