import Roles
import Telemetry

/// What a worker counts.
struct WorkerCounters {
  let claimed: Counter
  let claims: Counter
  let completed: Counter
  let retried: Counter
  let rescued: Counter
  let failed: Counter
  let stale: Counter
  let released: Counter
  let soleRuns: Counter
  let notifications: Counter
  let sweepFinds: Counter
  let maintenanceFailures: Counter
  let waitSeconds: Histogram
  let runSeconds: Histogram
  /// What argon2 computations take, and what claimed tasks hold: their inputs, and results that are not stored yet.
  let argon2Bytes: Gauge
  let queue: QueueGauges
  let taskBytes: Gauge

  init(_ metrics: Metrics) {
    queue = QueueGauges(metrics)
    argon2Bytes = MemoryMetrics.part("argon2", in: metrics)
    taskBytes = MemoryMetrics.part("tasks", in: metrics)
    claimed = metrics.counter("millrace_worker_claimed_tasks_total", "Tasks claimed.")
    claims = metrics.counter("millrace_worker_claims_total", "Claims that brought tasks.")
    retried = metrics.counter("millrace_worker_retried_tasks_total", "Failed attempts that are followed by another.")
    rescued = metrics.counter(
      "millrace_worker_rescued_tasks_total", "Tasks taken over from workers that were lost: their leases have ended.")
    waitSeconds = metrics.histogram(
      "millrace_worker_task_wait_seconds", "From submission to the claim, of tasks that were not tried before.")
    runSeconds = metrics.histogram(
      "millrace_worker_task_run_seconds", "Attempts; of those that are computed together, the mean.")
    completed = metrics.counter("millrace_worker_completed_tasks_total", "Completions that were accepted.")
    failed = metrics.counter("millrace_worker_failed_attempts_total", "Attempts that ended with an error.")
    stale = metrics.counter(
      "millrace_worker_stale_completions_total", "Completions refused because the lease had been taken away.")
    released = metrics.counter("millrace_worker_released_tasks_total", "Tasks given back unbegun.")
    soleRuns = metrics.counter(
      "millrace_worker_sole_runs_total", "How often all but the last attempt of a task was held back.")
    notifications = metrics.counter(
      "millrace_worker_notifications_total", "Notifications that told this worker of tasks.")
    sweepFinds = metrics.counter(
      "millrace_worker_safety_sweep_finds_total", "Tasks that no notification had told of: this should stay 0.")
    maintenanceFailures = metrics.counter(
      "millrace_worker_maintenance_failures_total", "Looks after partitions that failed or found others in the way.")
  }
}
