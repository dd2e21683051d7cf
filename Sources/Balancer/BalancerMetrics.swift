import HTTP
import Telemetry

/// The balancer's metrics; handles made once.
struct BalancerMetrics: Sendable {
  private let answers: [Counter]
  let retries: Counter
  let limited: Counter
  let refused: Counter
  let gaveWay: Counter
  let clients: Gauge
  let buffers: ByteBudgetMetrics

  init(_ metrics: Metrics) {
    answers = (1...5).map {
      metrics.counter("millrace_balancer_answers_total", "Proxied answers by class of status.", [("class", "\($0)xx")])
    }
    retries = metrics.counter("millrace_balancer_retries_total", "Requests sent again.")
    limited = metrics.counter("millrace_balancer_limited_total", "Requests answered with 429.")
    refused = metrics.counter("millrace_balancer_refused_total", "Requests that the parser refused.")
    gaveWay = metrics.counter(
      "millrace_balancer_clients_gave_way_total", "Idle client connections that were closed to make room for others.")
    buffers = ByteBudgetMetrics(metrics)
    clients = metrics.gauge("millrace_balancer_clients_open", "Open client connections.")
  }

  func count(status: Int) {
    answers[min(max(status / 100, 1), 5) - 1].increment()
  }
}
