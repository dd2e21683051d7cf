import Basics
import Reactor

/// A reactor's connections to backends that wait for work, a stack for each backend: the one used last is the least
/// likely to have been closed by the backend.
final class UpstreamPool {
  private var idle: [[UpstreamConnection]]

  init(backends: Int) {
    idle = Array(repeating: [], count: backends)
  }

  func take(_ backend: Int) -> UpstreamConnection? {
    idle[backend].popLast()
  }

  /// Keeps `connection` for the next request; false if enough are kept already.
  func keep(_ connection: UpstreamConnection) -> Bool {
    let backend = connection.backend
    guard idle[backend].count < BalancerLimits.idlePerBackendMax else { return false }
    connection.position = idle[backend].count
    idle[backend].append(connection)
    return true
  }

  /// Forgets an idle connection that has ended.
  func remove(_ connection: UpstreamConnection) {
    let backend = connection.backend
    let last = idle[backend].removeLast()
    guard last !== connection else { return }
    idle[backend][connection.position] = last
    last.position = connection.position
  }

  /// Closes what has waited too long.
  func sweep(on reactor: isolated Reactor) {
    for backend in idle.indices {
      var index = idle[backend].count - 1
      while index >= 0 {
        let connection = idle[backend][index]
        if connection.idleSince + BalancerLimits.upstreamIdle <= reactor.now {
          remove(connection)
          connection.close(on: reactor)
        }
        index -= 1
      }
    }
  }

  func closeAll(on reactor: isolated Reactor) {
    for backend in idle.indices {
      while let connection = idle[backend].popLast() { connection.close(on: reactor) }
    }
  }
}
