import Balancing
import Telemetry

/// The balancer's metrics; handles made once.
struct BalancerMetrics: Sendable {
  private let answers: [Counter]
  let retries: Counter
  let limited: Counter
  let refused: Counter
  let turnedAway: Counter
  let clients: Gauge

  init(_ metrics: Metrics, _ set: BackendSet) {
    answers = (1...5).map {
      metrics.counter("millrace_balancer_answers_total", "Proxied answers by class of status.", [("class", "\($0)xx")])
    }
    retries = metrics.counter("millrace_balancer_retries_total", "Requests sent again.")
    limited = metrics.counter("millrace_balancer_limited_total", "Requests answered with 429.")
    refused = metrics.counter("millrace_balancer_refused_total", "Requests that the parser refused.")
    turnedAway = metrics.counter(
      "millrace_balancer_clients_refused_total", "Connections closed at once because there were too many.")
    clients = metrics.gauge("millrace_balancer_clients_open", "Open client connections.")
    for backend in set.entries.map(\.backend) {
      let label = [(name: "backend", value: backend.name)]
      metrics.observed("millrace_balancer_in_flight", "Requests sent and not answered yet.", label) {
        Double(backend.inFlight)
      }
      metrics.observedCounter("millrace_balancer_backend_requests_total", "Requests sent since the start.", label) {
        Double(backend.requests)
      }
      metrics.observedCounter(
        "millrace_balancer_backend_errors_total", "Requests that failed or were answered badly since the start.", label
      ) {
        Double(backend.errors)
      }
    }
  }

  func count(status: Int) {
    answers[min(max(status / 100, 1), 5) - 1].increment()
  }
}
