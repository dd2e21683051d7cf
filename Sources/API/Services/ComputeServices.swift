import Backends
import Balancing
import Basics
import HTTP
import HTTPSyntax
import Reactor
import Telemetry

/// The compute services behind this process: the second level of balancing. The one with the fewest requests in flight
/// is asked, those that are not well are passed by, and a request that came to nothing is sent to another one, within a
/// deadline and a budget. Only what may be sent twice is asked of them.
final class ComputeServices {
  /// Why there is no answer.
  enum Failure: Error {
    /// None can be reached, or all have as much to do as they may.
    case unavailable
    /// None has answered in time.
    case late
    /// One has answered what is no answer.
    case bad(String)
  }

  private let register: BackendRegister
  private let health: HealthChecker
  private let names: NameWatcher?
  private let client = HTTPClient(bodyBytesMax: Limits.serviceAnswerBytesMax, idleMax: Limits.serviceConnectionsKept)
  private let retries = RetryBudget()
  private let repeated: Counter
  private let patience: TimeSpan
  /// The set for which connections are kept.
  private var version = 0
  private var waiting = 0

  /// Services of `plan`, each request of which may take `patience`; `resolvers` look its names up, nil if it has none.
  init(_ plan: BackendPlan, patience: TimeSpan, resolvers: ComputePool?, log: Logger, metrics: Metrics) {
    self.patience = patience
    let register = BackendRegister(plan, metrics: metrics, log: log)
    self.register = register
    health = HealthChecker(register)
    names = resolvers.map { NameWatcher(register, pool: $0) }
    repeated = metrics.counter("millrace_services_retries_total", "Requests to compute services that were sent again.")
  }

  /// Begins to look which there are, and how they are.
  func start(on reactor: isolated Reactor) {
    health.start(on: reactor)
    names?.start(on: reactor)
  }

  /// Ends that, and closes what is not in use.
  func stop(on reactor: isolated Reactor) async {
    names?.stop()
    await health.stop(on: reactor)
    client.closeIdle(on: reactor)
  }

  /// Whether one of them is fit to be asked.
  func isAnyFit(at now: MonotonicTime) -> Bool {
    register.backends.entries.contains { $0.backend.health.isEligible(at: now.milliseconds) }
  }

  /// Has one of them do its work, and tells it `fields` of the request that it is for.
  func process(
    _ fields: [(name: String, value: String)], on reactor: isolated Reactor
  ) async throws(Failure) -> ServiceAnswer {
    let response = try await get("/process", fields: fields, on: reactor)
    do throws(JSONError) { return try ServiceAnswer(body: response.body) } catch { throw .bad("\(error.reason)") }
  }

  /// Asks one of them for `target`; its answer with the status 200.
  private func get(
    _ target: String, fields: [(name: String, value: String)], on reactor: isolated Reactor
  ) async throws(Failure) -> HTTPClientResponse {
    let began = reactor.now
    let deadline = began + patience
    var (tried, paid) = (0 as UInt64, 0)
    retries.requestStarted()
    while true {
      guard reactor.now < deadline else { throw .late }
      guard let entry = choose(but: tried, on: reactor) else {
        // Whoever is restarted is back in a moment; those that were tried in vain may be tried again then.
        tried = 0
        try await wait(until: min(deadline, began + Limits.serviceWait), on: reactor)
        continue
      }
      let response: HTTPClientResponse
      do throws(HTTPClientError) {
        let request = HTTPClientRequest(.get, target, fields: fields)
        response = try await client.send(request, to: entry.address, until: deadline, on: reactor)
      } catch {
        try settle(error, entry, &paid, at: reactor.now)
        tried |= entry.backend.bit
        repeated.increment()
        continue
      }
      let took = reactor.now.since(began)
      let isBad = Backend.isBad(status: response.status)
      entry.backend.requestAnswered(latencyUs: Int(took.nanoseconds / 1000), isBad: isBad)
      entry.latency.observe(took)
      guard response.status == 200 else { throw .bad("\(entry.backend.name) answers \(response.status)") }
      return response
    }
  }

  /// Tells of a request that has come to nothing; returns if it may be sent again. Of an answer that was cut off no
  /// client has seen anything, so another one may be asked as if there had been none.
  /// - Throws: `Failure` if it may not.
  private func settle(
    _ error: HTTPClientError, _ entry: BackendEntry, _ paid: inout Int, at now: MonotonicTime
  ) throws(Failure) {
    switch error {
    case .unreachable(let reason) where reason.isShortage:
      // It is our own shortage, not the service's fault.
      entry.backend.requestAbandoned()
      throw .unavailable
    case .unreachable: register.blame(entry, isLost: true, at: now.milliseconds)
    case .closed:
      register.blame(entry, isLost: true, at: now.milliseconds)
      guard paid < Limits.serviceRetriesMax, retries.takeRetry() else { throw .bad("\(entry.backend.name): \(error)") }
      paid += 1
    case .deadline:
      register.blame(entry, isLost: false, at: now.milliseconds)
      throw .late
    case .malformed, .tooLarge:
      register.blame(entry, isLost: false, at: now.milliseconds)
      throw .bad("\(entry.backend.name): \(error)")
    }
  }

  /// One of them, with the request on its account; nil if none has room.
  private func choose(but tried: UInt64, on reactor: isolated Reactor) -> BackendEntry? {
    let set = register.backends
    if set.version != version {
      version = set.version
      client.closeIdle(but: set.entries.map(\.address), on: reactor)
    }
    let request = BackendPool.Request(nowMs: reactor.now.milliseconds, excluded: tried)
    guard let index = set.pool.choose(.leastConnections, request) else { return nil }
    let entry = set.entries[index]
    return entry.backend.requestStarted() ? entry : nil
  }

  /// - Throws: `Failure` if there is nothing to wait for, or too many wait.
  private func wait(until end: MonotonicTime, on reactor: isolated Reactor) async throws(Failure) {
    guard reactor.now < end, waiting < Limits.serviceWaitersMax, !register.backends.entries.isEmpty else {
      throw .unavailable
    }
    waiting += 1
    await reactor.sleep(for: Limits.serviceWaitStep)
    waiting -= 1
  }
}
