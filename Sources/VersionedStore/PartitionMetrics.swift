import Telemetry

/// What all partitions of a process count.
struct PartitionMetrics {
  let held: Gauge
  let commits: Counter
  let changes: Counter

  init(_ metrics: Metrics) {
    held = metrics.gauge("millrace_kv_partitions_held", "Partitions that this server has.")
    commits = metrics.counter("millrace_kv_commits_total", "Durable commits, each of one partition.")
    changes = metrics.counter("millrace_kv_changes_total", "Changes in them.")
  }
}
