import Balancing
import Basics
import Reactor
import Synchronization
import Telemetry

/// What the reactors of a balancer have in common: configuration, decisions, counters. All of it is immutable, atomic
/// or locked.
final class BalancerShared: Sendable {
  let configuration: BalancerConfiguration
  let limiter: RateLimiter
  /// Counts requests for the balancer itself: who is over the limit can still ask it why, but not without end.
  let ownLimiter: RateLimiter
  let retries = RetryBudget()
  let metrics: BalancerMetrics
  let registry: Metrics
  let log: Logger
  let operations = Operations()
  /// Rung when the checks have to look anew: at the set of backends, or at one that was ejected.
  let checkBell = Bell()
  /// When each reactor has last turned, milliseconds of the monotonic clock; the last one is that of the operations.
  let turned: [SharedMoment]
  /// `RateLimit-Policy: …`, a whole line; empty if the limiter is off.
  let policyLine: [UInt8]
  /// What the balancer is called in `Via`; empty for no such field.
  let viaName: [UInt8]
  private let strategyNumber: Atomic<Int>
  private let current: Locked<BackendSet>
  /// The names of all backends that there ever were: their figures are kept, and there is a bound on that.
  private let known = Locked<Set<String>>([])
  private let mail: [ReactorMail]

  init(_ configuration: BalancerConfiguration, metrics registry: Metrics, log: Logger, mail: [ReactorMail]) {
    self.configuration = configuration
    self.registry = registry
    self.log = log
    self.mail = mail
    // From the start: one that never turns is found out too.
    turned = (0...mail.count).map { _ in SharedMoment(MonotonicTime.current()) }
    let set = BackendSet.first(
      configuration.backends, names: configuration.names.map(\.name), inFlightMax: configuration.backendInFlightMax,
      metrics: registry)
    current = Locked(set)
    limiter = RateLimiter(
      quota: configuration.rateLimitRequests, windowMs: UInt64(configuration.rateLimitWindowSeconds) * 1000,
      seed: UInt64.random(in: .min ... .max))
    ownLimiter = RateLimiter(
      quota: limiter.isOn ? BalancerLimits.ownRequestsMax : 0, windowMs: BalancerLimits.ownRequestsWindow.milliseconds,
      capacity: 4096, seed: UInt64.random(in: .min ... .max))
    metrics = BalancerMetrics(registry)
    strategyNumber = Atomic(configuration.strategy.number)
    let policy = "\"default\";q=\(configuration.rateLimitRequests);w=\(configuration.rateLimitWindowSeconds)"
    policyLine = limiter.isOn ? Array("RateLimit-Policy: \(policy)\r\n".utf8) : []
    viaName = Array((configuration.viaName ?? "").utf8)
    observe(set)
  }

  /// How backends are chosen now.
  var strategy: Strategy {
    get { Strategy(number: strategyNumber.load(ordering: .relaxed)) }
    set { strategyNumber.store(newValue.number, ordering: .relaxed) }
  }

  /// The backends now. A reactor's byte path has its own copy, which follows by message.
  var backends: BackendSet { current.withLock { $0 } }

  /// Puts another set in the place of the present one and tells all reactors.
  func replaceBackends(by backends: [BalancerConfiguration.BackendAddress]) {
    let next = current.withLock { set in
      set = set.replaced(by: backends, inFlightMax: configuration.backendInFlightMax, metrics: registry)
      return set
    }
    observe(next)
    log.info(
      "the backends were replaced",
      [("version", "\(next.version)"), ("backends", next.entries.map(\.backend.name).joined(separator: ","))])
    for box in mail { box.send(.backends(next)) }
    checkBell.ring()
  }

  /// Puts the servers that `name` leads to now in the place of those that it led to before; who stays keeps its weight.
  /// - Returns: how many of `members` are in the set: those are left out whose names somebody else has, or of whom no
  ///   figures could be kept.
  func replaceMembers(of name: String, by members: [BalancerConfiguration.BackendAddress]) -> Int {
    let present = backends.given
    let others = present.filter { $0.origin != name }
    let kept = members.filter { member in
      mayKnow(member.name) && !others.contains { $0.name == member.name }
    }.prefix(Limits.backendsMax - others.count).map { member in
      var member = member
      let known = present.first { $0.name == member.name && $0.address == member.address }
      if let known { member.weight = known.weight }
      return member
    }
    replaceBackends(by: others + kept)
    return kept.count
  }

  /// Whether figures of a backend called `name` can be kept.
  func mayKnow(_ name: String) -> Bool {
    known.withLock { $0.contains(name) || $0.count < Limits.backendsMax }
  }

  /// Registers the figures of backends that are new; those of one that has left are 0 from then on.
  private func observe(_ set: BackendSet) {
    for name in set.entries.map(\.backend.name) where known.withLock({ $0.insert(name).inserted }) {
      func figure(_ number: @escaping @Sendable (Backend) -> Int) -> @Sendable () -> Double {
        { [weak self] in
          let entry = self?.backends.entries.first { $0.backend.name == name }
          return entry.map { Double(number($0.backend)) } ?? 0
        }
      }
      let label = [(name: "backend", value: name)]
      registry.observed(
        "millrace_balancer_in_flight", "Requests sent and not answered yet.", label, figure(\.inFlight))
      registry.observedCounter(
        "millrace_balancer_backend_requests_total", "Requests sent since the start.", label, figure(\.requests))
      registry.observedCounter(
        "millrace_balancer_backend_errors_total", "Requests that failed or were answered badly since the start.", label,
        figure(\.errors))
    }
  }
}
