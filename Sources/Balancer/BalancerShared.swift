import Backends
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
  /// The backends now. A reactor's byte path has its own copy, which follows by message.
  let register: BackendRegister
  /// When each reactor has last turned, milliseconds of the monotonic clock; the last one is that of the operations.
  let turned: [SharedMoment]
  /// `RateLimit-Policy: …`, a whole line; empty if the limiter is off.
  let policyLine: [UInt8]
  /// What the balancer is called in `Via`; empty for no such field.
  let viaName: [UInt8]
  private let strategyNumber: Atomic<Int>

  init(_ configuration: BalancerConfiguration, metrics registry: Metrics, log: Logger, mail: [ReactorMail]) {
    self.configuration = configuration
    self.registry = registry
    self.log = log
    // From the start: one that never turns is found out too.
    turned = (0...mail.count).map { _ in SharedMoment(MonotonicTime.current()) }
    register = BackendRegister(BalancerShared.plan(configuration), metrics: registry, log: log) { next in
      for box in mail { box.send(.backends(next)) }
    }
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
  }

  /// How backends are chosen now.
  var strategy: Strategy {
    get { Strategy(number: strategyNumber.load(ordering: .relaxed)) }
    set { strategyNumber.store(newValue.number, ordering: .relaxed) }
  }

  private static func plan(_ configuration: BalancerConfiguration) -> BackendPlan {
    var plan = BackendPlan(
      configuration.backends, names: configuration.names, agent: "millrace-balancer",
      metricsPrefix: "millrace_balancer")
    plan.inFlightMax = configuration.backendInFlightMax
    plan.healthPath = configuration.healthPath
    plan.healthInterval = configuration.healthInterval
    plan.healthTimeout = configuration.healthTimeout
    plan.lookUpInterval = configuration.lookUpInterval
    let partitions = configuration.partitions
    plan.complaint = { purpose, body in purpose == .keys ? KeyServers.complaint(body, partitions: partitions) : nil }
    return plan
  }
}
