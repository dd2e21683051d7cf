import Balancing
import Basics
import HTTP
import HTTPSyntax
import Reactor
import Telemetry

/// Asks every backend in turn whether it is well, and writes the result where all reactors see it. Runs on the first
/// reactor, one long-lived task a backend.
final class HealthChecker {
  /// How often a backend that was never well is asked: a start should not wait for the usual interval.
  private static let firstInterval = TimeSpan.milliseconds(100)
  /// How long checks may fail before somebody is told: backends that start together with us need a moment.
  private static let patience = TimeSpan.seconds(3 as UInt64)

  private let shared: BalancerShared
  private let client = HTTPClient(bodyBytesMax: 64 << 10)
  private var isStopped = false
  private var tasks: [Task<Void, Never>] = []
  private var pauses: [Pause] = []

  init(_ shared: BalancerShared) {
    self.shared = shared
  }

  func start(on reactor: isolated Reactor) {
    for index in shared.pool.backends.indices {
      pauses.append(Pause())
      tasks.append(Task.immediate(executorPreference: reactor.queue) { await watch(index, on: reactor) })
    }
  }

  /// Ends the checks; one that is under way is waited for, at most its timeout.
  func stop(on reactor: isolated Reactor) async {
    isStopped = true
    for pause in pauses { pause.end() }
    for task in tasks { await task.value }
    client.closeIdle(on: reactor)
  }

  private func watch(_ index: Int, on reactor: isolated Reactor) async {
    let backend = shared.pool.backends[index]
    var wellUntil = reactor.now
    var isTold = false
    while !isStopped {
      let problem = await check(index, on: reactor)
      if isStopped { return }
      let nowMs = reactor.now.nanoseconds / 1_000_000
      let change = problem == nil ? backend.checkPassed(at: nowMs) : backend.checkFailed(at: nowMs)
      if let problem {
        if !isTold, reactor.now.since(wellUntil) >= HealthChecker.patience {
          isTold = true
          shared.log.warning(
            "a backend fails its health checks",
            [("backend", backend.name), ("path", shared.configuration.healthPath), ("reason", problem)])
        }
      } else {
        wellUntil = reactor.now
        isTold = false
      }
      shared.lastChecks[index].ms = nowMs
      let (old, new) = (change.old.state(at: nowMs, policy: backend.policy), backend.state(at: nowMs))
      if old != new {
        shared.log.info(
          "a backend changed its state",
          [("backend", backend.name), ("old", old.rawValue), ("new", new.rawValue)])
      }
      let interval = change.new == .unchecked ? HealthChecker.firstInterval : shared.configuration.healthInterval
      await pauses[index].wait(until: reactor.now + interval, on: reactor)
    }
  }

  /// What is wrong with the backend; nil if it answers 200 to 399 in time.
  private func check(_ index: Int, on reactor: isolated Reactor) async -> String? {
    let request = HTTPClientRequest(
      .get, shared.configuration.healthPath, host: "localhost", fields: [("User-Agent", "millrace-balancer")])
    do throws(HTTPClientError) {
      let response = try await client.send(
        request, to: shared.addresses[index], until: reactor.now + shared.configuration.healthTimeout, on: reactor)
      return 200..<400 ~= response.status ? nil : "it answers \(response.status), not 200 to 399"
    } catch {
      return "\(error)"
    }
  }
}
