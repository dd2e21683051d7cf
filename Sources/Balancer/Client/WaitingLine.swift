import Exchange
import Reactor

/// Sessions whose request waits for a backend that can take it, first come, first served.
final class WaitingLine {
  private var line: [HTTP1Session] = []

  /// How many wait.
  private(set) var count = 0

  /// Whether one more may wait.
  var hasRoom: Bool { line.count < BalancerLimits.waitingMax }

  func append(_ session: HTTP1Session) {
    line.append(session)
    count += 1
  }

  /// A session does not wait any more; its place is passed over when its turn comes.
  func left() {
    count -= 1
  }

  /// Lets one after the other look for a backend again, until one has to wait on: so will those behind it, and the
  /// places stay as they were.
  func serve(on reactor: isolated Reactor) {
    let standing = line
    line = []
    for (place, session) in standing.enumerated() {
      session.turnCame(on: reactor)
      guard session.exchange.phase == .waiting else { continue }
      line = Array(standing[place...])
      return
    }
  }
}
