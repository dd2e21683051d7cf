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
  let retries = RetryBudget()
  let metrics: BalancerMetrics
  let registry: Metrics
  let log: Logger
  let operations = Operations()
  /// `RateLimit-Policy: …`, a whole line; empty if the limiter is off.
  let policyLine: [UInt8]
  /// What the balancer is called in `Via`; empty for no such field.
  let viaName: [UInt8]
  private let strategyNumber: Atomic<Int>
  private let current: Locked<BackendSet>
  private let mail: [ReactorMail]

  init(_ configuration: BalancerConfiguration, metrics registry: Metrics, log: Logger, mail: [ReactorMail]) {
    self.configuration = configuration
    self.registry = registry
    self.log = log
    self.mail = mail
    let set = BackendSet.first(
      configuration.backends, inFlightMax: configuration.backendInFlightMax, metrics: registry)
    current = Locked(set)
    limiter = RateLimiter(
      quota: configuration.rateLimitRequests, windowMs: UInt64(configuration.rateLimitWindowSeconds) * 1000,
      seed: UInt64.random(in: .min ... .max))
    metrics = BalancerMetrics(registry, set)
    strategyNumber = Atomic(configuration.strategy.number)
    let policy = "\"default\";q=\(configuration.rateLimitRequests);w=\(configuration.rateLimitWindowSeconds)"
    policyLine = limiter.isOn ? Array("RateLimit-Policy: \(policy)\r\n".utf8) : []
    viaName = Array((configuration.viaName ?? "").utf8)
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
    log.info(
      "the backends were replaced",
      [("version", "\(next.version)"), ("backends", next.entries.map(\.backend.name).joined(separator: ","))])
    for box in mail { box.send(.backends(next)) }
  }
}
