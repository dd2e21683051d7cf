import Balancing
import Basics
import HTTP
import HTTPSyntax
public import Reactor
import Telemetry

/// Asks every backend in turn whether it is well, and writes the result where all reactors see it: one long-lived task
/// a backend, for as long as the backend is in the set.
public final class HealthChecker {
  /// How often a backend that takes no traffic is asked: a start or a restart should not wait for the usual interval.
  private static let eagerInterval = TimeSpan.milliseconds(100)
  /// How long checks may fail before somebody is told: backends that start together with us need a moment.
  private static let patience = TimeSpan.seconds(3 as UInt64)

  /// How late this process may notice that an answer has not come: with a machine that keeps it waiting for longer, it
  /// may have kept the backend waiting too.
  private static let lateness = TimeSpan.milliseconds(250)

  /// What a check has shown.
  private enum Finding {
    case well
    case ill(String)
    /// Nothing: the machine is too busy to tell.
    case unknown
  }

  private let register: BackendRegister
  private let client = HTTPClient(bodyBytesMax: 64 << 10)
  private var isStopped = false
  private var tasks: [Task<Void, Never>] = []
  private var watched: [BackendEntry] = []
  private var pauses: [Pause] = []

  /// One for the backends of `register`.
  public init(_ register: BackendRegister) {
    self.register = register
  }

  /// Begins to ask all that there are, and asks all that come.
  public func start(on reactor: isolated Reactor) {
    watchNew(in: register.backends, on: reactor)
    tasks.append(
      Task.immediate(executorPreference: reactor.queue) {
        for await _ in register.checkBell.rings where !isStopped {
          watchNew(in: register.backends, on: reactor)
          for pause in pauses { pause.end() }
        }
      })
  }

  /// Ends the checks; one that is under way is waited for, at most its timeout.
  public func stop(on reactor: isolated Reactor) async {
    isStopped = true
    register.checkBell.end()
    for pause in pauses { pause.end() }
    for task in tasks { await task.value }
    client.closeIdle(on: reactor)
  }

  private func watchNew(in set: BackendSet, on reactor: isolated Reactor) {
    watched.removeAll { old in !set.entries.contains { $0 === old } }
    client.closeIdle(but: set.entries.map(\.address), on: reactor)
    for entry in set.entries where !watched.contains(where: { $0 === entry }) {
      watched.append(entry)
      let pause = Pause()
      pauses.append(pause)
      tasks.append(
        Task.immediate(executorPreference: reactor.queue) {
          await watch(entry, pause, on: reactor)
          pauses.removeAll { $0 === pause }
        })
    }
  }

  private func watch(_ entry: BackendEntry, _ pause: Pause, on reactor: isolated Reactor) async {
    var wellUntil = reactor.now
    var isTold = false
    while isWatched(entry) {
      let askedAt = reactor.now
      let finding = await check(entry, on: reactor)
      if isStopped { return }
      note(finding, of: entry, at: reactor.now.milliseconds)
      if case .ill(let problem) = finding {
        if !isTold, reactor.now.since(wellUntil) >= HealthChecker.patience {
          isTold = true
          register.log.warning(
            "a backend fails its health checks",
            [
              ("backend", entry.backend.name), ("path", register.plan.healthPath(of: entry.purpose)),
              ("reason", problem),
            ])
        }
      } else if case .well = finding {
        wellUntil = reactor.now
        isTold = false
      }
      var next = askedAt + register.plan.healthInterval
      // One that is ejected meanwhile is asked soon: a restart is over before the usual time has come.
      repeat {
        let isWell = entry.backend.health.isEligible(at: reactor.now.milliseconds)
        if !isWell { next = min(next, reactor.now + HealthChecker.eagerInterval) }
        await pause.wait(until: next, on: reactor)
      } while isWatched(entry) && reactor.now < next
    }
  }

  private func isWatched(_ entry: BackendEntry) -> Bool {
    !isStopped && watched.contains { $0 === entry }
  }

  /// Writes down what a check has found, and tells of a change.
  private func note(_ finding: Finding, of entry: BackendEntry, at nowMs: UInt64) {
    let backend = entry.backend
    let change: (old: Health, new: Health)
    switch finding {
    case .well: change = backend.checkPassed(at: nowMs)
    case .ill: change = backend.checkFailed(at: nowMs)
    case .unknown: return
    }
    entry.lastCheck.ms = nowMs
    let (old, new) = (change.old.state(at: nowMs, policy: backend.policy), backend.state(at: nowMs))
    guard old != new else { return }
    register.log.info(
      "a backend changed its state", [("backend", backend.name), ("old", old.rawValue), ("new", new.rawValue)])
  }

  /// Whether the backend answers 200 to 399 in time.
  private func check(_ entry: BackendEntry, on reactor: isolated Reactor) async -> Finding {
    let request = HTTPClientRequest(
      .get, register.plan.healthPath(of: entry.purpose), host: "localhost",
      fields: [("User-Agent", register.plan.agent)])
    let deadline = reactor.now + register.plan.healthTimeout
    do throws(HTTPClientError) {
      let response = try await client.send(request, to: entry.address, until: deadline, on: reactor)
      guard 200..<400 ~= response.status else { return .ill("it answers \(response.status), not 200 to 399") }
      return register.plan.complaint(entry.purpose, response.body).map { .ill($0) } ?? .well
    } catch {
      return reactor.now > deadline + HealthChecker.lateness ? .unknown : .ill("\(error)")
    }
  }
}
