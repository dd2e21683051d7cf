import Balancing
import Basics
import HTTP
import Hashing
import Reactor
import Synchronization
import Telemetry

/// What the reactors of a balancer have in common: configuration, decisions, counters. All of it is immutable or
/// atomic.
final class BalancerShared: Sendable {
  let configuration: BalancerConfiguration
  let pool: BackendPool
  let addresses: [SocketAddress]
  let limiter: RateLimiter
  let retries = RetryBudget()
  let metrics: BalancerMetrics
  let registry: Metrics
  let log: Logger
  /// The field that names a backend, for each.
  let backendLines: [[UInt8]]
  /// `RateLimit-Policy: …`, a whole line; empty if the limiter is off.
  let policyLine: [UInt8]
  /// When each backend was last checked, milliseconds of the monotonic clock, 0 for never.
  let lastChecks: [SharedMoment]
  private let strategyIndex: Atomic<Int>

  init(_ configuration: BalancerConfiguration, metrics registry: Metrics, log: Logger) {
    self.configuration = configuration
    self.registry = registry
    self.log = log
    let backends = configuration.backends.enumerated().map { index, backend in
      Backend(name: backend.name, slot: index, weight: backend.weight)
    }
    addresses = configuration.backends.map(\.address)
    lastChecks = backends.map { _ in SharedMoment() }
    pool = BackendPool(backends) { name in
      SHA256.digest(of: name).bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }
    limiter = RateLimiter(
      quota: configuration.rateLimitRequests, windowMs: UInt64(configuration.rateLimitWindowSeconds) * 1000,
      seed: UInt64.random(in: .min ... .max))
    metrics = BalancerMetrics(registry, pool: pool)
    strategyIndex = Atomic(BalancerShared.index(of: configuration.strategy))
    let policy = "\"default\";q=\(configuration.rateLimitRequests);w=\(configuration.rateLimitWindowSeconds)"
    backendLines = configuration.backends.map { Array("X-LB-Backend: \($0.name)\r\n".utf8) }
    policyLine = limiter.isOn ? Array("RateLimit-Policy: \(policy)\r\n".utf8) : []
  }

  /// How backends are chosen now.
  var strategy: Strategy {
    get { BalancerShared.strategies[strategyIndex.load(ordering: .relaxed)] }
    set { strategyIndex.store(BalancerShared.index(of: newValue), ordering: .relaxed) }
  }

  /// A constant, because `allCases` makes a new array each time.
  private static let strategies = Strategy.allCases

  private static func index(of strategy: Strategy) -> Int {
    strategies.firstIndex(of: strategy) ?? 0
  }

  /// The names of the backends that no check has found well yet.
  var uncheckedBackends: [String] {
    pool.backends.filter { $0.health == .unchecked }.map(\.name)
  }
}

/// A point in time that one thread writes and others read.
final class SharedMoment: Sendable {
  private let moment = Atomic<UInt64>(0)

  var ms: UInt64 {
    get { moment.load(ordering: .relaxed) }
    set { moment.store(newValue, ordering: .relaxed) }
  }
}

/// The balancer's metrics; handles made once.
struct BalancerMetrics: Sendable {
  /// Time to the end of the response, by backend.
  let latency: [Histogram]
  let answers: [Counter]
  let retries: Counter
  let limited: Counter
  let refused: Counter
  let turnedAway: Counter
  let clients: Gauge

  init(_ metrics: Metrics, pool: BackendPool) {
    latency = pool.backends.map {
      metrics.histogram(
        "millrace_balancer_request_seconds", "From the whole head to the end of the answer.", [("backend", $0.name)])
    }
    answers = (1...5).map {
      metrics.counter("millrace_balancer_answers_total", "Proxied answers by class of status.", [("class", "\($0)xx")])
    }
    retries = metrics.counter("millrace_balancer_retries_total", "Requests sent again.")
    limited = metrics.counter("millrace_balancer_limited_total", "Requests answered with 429.")
    refused = metrics.counter("millrace_balancer_refused_total", "Requests that the parser refused.")
    turnedAway = metrics.counter(
      "millrace_balancer_clients_refused_total", "Connections closed at once because there were too many.")
    clients = metrics.gauge("millrace_balancer_clients_open", "Open client connections.")
    for backend in pool.backends {
      let label = [(name: "backend", value: backend.name)]
      metrics.observed("millrace_balancer_in_flight", "Requests sent and not answered yet.", label) {
        Double(backend.inFlight)
      }
      metrics.observedCounter("millrace_balancer_backend_requests_total", "Requests sent since the start.", label) {
        Double(backend.requests)
      }
      metrics.observedCounter("millrace_balancer_backend_errors_total", "Requests that failed since the start.", label)
      {
        Double(backend.errors)
      }
    }
  }
}
