import Basics
import HTTP
import HTTPSyntax
import Reactor
import TaskQueue
import Tasks

extension APIService {
  /// `GET /stats`
  func showStats(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    let stats: QueueStats
    do { stats = try await queue.stats(on: reactor) } catch { throw problem(error, request) }
    var json = JSONWriter(capacity: 2048)
    json.object { json in
      json.key("queues")
      json.object { json in
        for priority in Priority.allCases {
          json.key(priority.name)
          json.integer(stats.depths.reduce(0) { $0 + ($1.priority == priority ? $1.tasks : 0) })
        }
      }
      json.field("queued", stats.ready)
      json.field("scheduled", stats.scheduled)
      json.field("running", stats.workers.reduce(0) { $0 + $1.taskCount })
      json.field("submitted", stats.newest)
      json.key("completed_lately")
      json.object { json in
        json.field("tasks", stats.completed.tasks)
        json.field("average_wait_seconds", stats.completed.waitSeconds)
        json.field("average_run_seconds", stats.completed.runSeconds)
      }
      json.key("kinds")
      json.array { json in for kind in TaskKind.all { APIService.write(kind, stats, &json) } }
      json.key("workers")
      json.array { json in for worker in stats.workers { APIService.write(worker, &json) } }
    }
    return .json(200, json.bytes)
  }

  private static func write(_ kind: TaskKind, _ stats: QueueStats, _ json: inout JSONWriter) {
    let lines = kind.lines.map(\.number)
    let depths = stats.depths.filter { lines.contains($0.line) }
    let order = stats.orders[kind.name] ?? QueueOrders.Kind()
    json.object { json in
      json.field("type", kind.name)
      json.field("queued", depths.reduce(0) { $0 + $1.tasks })
      json.field("oldest_seconds", depths.lazy.map(\.oldestSeconds).max() ?? 0)
      json.field("paused", order.isPaused)
      json.key("limit")
      if let most = order.runningMax { json.integer(most) } else { json.null() }
    }
  }

  private static func write(_ worker: QueueStats.Worker, _ json: inout JSONWriter) {
    json.object { json in
      json.field("id", worker.id)
      json.field("name", worker.name)
      json.field("wanted", "\(worker.wanted)")
      json.key("limit")
      if let most = worker.slotsMax { json.integer(most) } else { json.null() }
      json.field("running", worker.taskCount)
      json.key("tasks")
      json.array { json in for task in worker.tasks { json.integer(task) } }
      json.field("silent_seconds", worker.silentSeconds)
      json.key("started_at")
      json.string(worker.startedAt.rfc3339)
    }
  }
}
