import Roles
import Telemetry

/// What a worker counts.
struct WorkerCounters {
  let claimed: Counter
  let completed: Counter
  let failed: Counter
  let stale: Counter
  let released: Counter
  let sweepFinds: Counter
  let maintenanceFailures: Counter
  /// What argon2 computations take, and what claimed tasks hold: their inputs, and results that are not stored yet.
  let argon2Bytes: Gauge
  let taskBytes: Gauge

  init(_ metrics: Metrics) {
    argon2Bytes = MemoryMetrics.part("argon2", in: metrics)
    taskBytes = MemoryMetrics.part("tasks", in: metrics)
    claimed = metrics.counter("millrace_worker_claimed_tasks_total", "Tasks claimed.")
    completed = metrics.counter("millrace_worker_completed_tasks_total", "Completions that were accepted.")
    failed = metrics.counter("millrace_worker_failed_attempts_total", "Attempts that ended with an error.")
    stale = metrics.counter(
      "millrace_worker_stale_completions_total", "Completions refused because the lease had been taken away.")
    released = metrics.counter("millrace_worker_released_tasks_total", "Tasks given back unbegun.")
    sweepFinds = metrics.counter(
      "millrace_worker_safety_sweep_finds_total", "Tasks that no notification had told of: this should stay 0.")
    maintenanceFailures = metrics.counter(
      "millrace_worker_maintenance_failures_total", "Looks after partitions that failed or found others in the way.")
  }
}
