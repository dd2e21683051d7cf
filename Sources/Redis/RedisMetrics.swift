public import Telemetry

/// What is counted about Redis in one process.
public struct RedisMetrics: Sendable {
  let commands: Counter
  let failures: Counter
  let timeouts: Counter
  let connects: Counter
  let messages: Counter

  /// The counters in `metrics`.
  public init(_ metrics: Metrics) {
    commands = metrics.counter("millrace_redis_commands_total", "Commands sent to Redis.")
    failures = metrics.counter("millrace_redis_failures_total", "Commands without an answer, unsent ones included.")
    timeouts = metrics.counter("millrace_redis_timeouts_total", "Connections given up because an answer was late.")
    connects = metrics.counter("millrace_redis_connects_total", "Connections made to Redis.")
    messages = metrics.counter("millrace_redis_messages_total", "Messages received on subscriptions.")
  }
}
