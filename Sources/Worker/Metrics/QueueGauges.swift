import TaskQueue
import Tasks
import Telemetry

/// What is in the queue, as the one worker sees it that looks; the others show nothing, so that the sum over all is
/// right.
struct QueueGauges {
  private let ready: [(line: Int16, priority: Priority, gauge: Gauge)]
  private let oldest: [(lines: [Int16], gauge: Gauge)]
  private let suspects: Gauge
  private let scheduled: Gauge
  private let running: Gauge

  init(_ metrics: Metrics) {
    ready = TaskKind.all.flatMap { kind in
      kind.lines.flatMap { line in
        Priority.allCases.map { priority in
          (
            line.number, priority,
            metrics.gauge(
              "millrace_queue_ready_tasks", "Tasks that wait to be claimed, as one worker of all sees them.",
              [("type", kind.name), ("size", line.slots.name), ("priority", priority.name)])
          )
        }
      }
    }
    oldest = TaskKind.all.map { kind in
      (
        kind.lines.map(\.number),
        metrics.gauge(
          "millrace_queue_oldest_seconds", "How long ago the task was submitted that is at the front.",
          [("type", kind.name)])
      )
    }
    suspects = metrics.gauge(
      "millrace_queue_suspect_tasks", "Tasks whose worker was lost: a worker runs one at a time.")
    scheduled = metrics.gauge("millrace_queue_scheduled_tasks", "Tasks to be run later, or tried again.")
    running = metrics.gauge("millrace_queue_running_tasks", "Tasks that workers hold.")
  }

  /// Shows `stats`; nothing of it if they are nil.
  func show(_ stats: QueueStats?) {
    let depths = stats?.depths ?? []
    for (line, priority, gauge) in ready {
      gauge.set(Int(depths.first { $0.line == line && $0.priority == priority }?.tasks ?? 0))
    }
    for (lines, gauge) in oldest {
      gauge.set(Int(depths.lazy.filter { lines.contains($0.line) }.map(\.oldestSeconds).max() ?? 0))
    }
    suspects.set(Int(depths.lazy.filter { $0.priority == nil }.reduce(0) { $0 + $1.tasks }))
    scheduled.set(Int(stats?.scheduled ?? 0))
    running.set(Int(stats?.workers.reduce(0) { $0 + $1.taskCount } ?? 0))
  }
}
