import Basics
import Glibc
import Reactor
import TaskQueue
import Tasks

/// `millrace queue`: what is in the queue, and which kinds of tasks are held up.
enum ControlTool {

  /// Does what the first operand says and returns what is to be printed.
  /// - Throws: `CommandError`: 2 for a wrong command line, 75 if PostgreSQL cannot be reached.
  static func run(_ configuration: Configuration) throws(CommandError) -> String {
    let tool = try QueueTool<QueueAction>(configuration)
    switch tool.action {
    case .stats:
      try tool.takesNoArgument()
      return text(
        try tool.run { (queue, reactor) throws(QueueError) in try await queue.stats(on: reactor) }, asJSON: tool.asJSON)
    case .pause:
      return try order(try kind(try tool.onlyArgument("a kind")), tool) { (queue, kind, reactor) throws(QueueError) in
        try await queue.pause(kind, true, on: reactor)
      }
    case .resume:
      return try order(try kind(try tool.onlyArgument("a kind")), tool) { (queue, kind, reactor) throws(QueueError) in
        try await queue.pause(kind, false, on: reactor)
      }
    case .limit:
      guard tool.arguments.count == 2 else { throw .usage("'limit' needs a kind, and a number or 'off'") }
      let kind = try kind(tool.arguments[0])
      guard kind.lines.allSatisfy({ $0.slots.claimMax == 1 }) else {
        throw .usage("'\(kind.name)' cannot be limited: its tasks take microseconds and are claimed by the hundred")
      }
      let most = try QueueTool<QueueAction>.limit(tool.arguments[1])
      return try order(kind, tool) { (queue, kind, reactor) throws(QueueError) in
        try await queue.limit(kind, to: most, on: reactor)
      }
    }
  }

  private static func kind(_ name: String) throws(CommandError) -> TaskKind {
    if let kind = TaskKind.named(name) { return kind }
    let names = TaskKind.all.map(\.name)
    let near = Spelling.nearest(to: name, in: names).map { "did you mean '\($0)'?" }
    throw .usage("there is no kind '\(name)'; " + (near ?? "there are \(names.joined(separator: ", "))"))
  }

  private static func order(
    _ kind: TaskKind, _ tool: QueueTool<QueueAction>,
    _ act: @escaping @Sendable (QueueClient, String, isolated Reactor) async throws(QueueError) -> QueueOrders.Kind
  ) throws(CommandError) -> String {
    let order = try tool.run { (queue, reactor) throws(QueueError) in try await act(queue, kind.name, reactor) }
    return "\(kind.name): \(text(order))\n"
  }

  private static func text(_ order: QueueOrders.Kind) -> String {
    let limit = order.runningMax.map { "at most \($0) at once" } ?? "no limit"
    return (order.isPaused ? "paused, " : "runs, ") + limit
  }

  private static func text(_ stats: QueueStats, asJSON: Bool) -> String {
    var table = Table("type", "size", "priority", "queued", "oldest", "orders")
    for kind in TaskKind.all {
      for line in kind.lines {
        let depths = stats.depths.filter { $0.line == line.number }
        let order = stats.orders[kind.name].map { ControlTool.text($0) } ?? "-"
        let priorities = Priority.allCases.map { ($0 as Priority?, $0.name) } + [(nil, "suspect")]
        for (priority, name) in priorities {
          let depth = depths.first { $0.priority == priority }
          // Of what is empty one line says so.
          if depth == nil, priority != .normal { continue }
          table.add(
            .text(kind.name), .text(line.slots.name), .text(name), .number(depth?.tasks ?? 0),
            .seconds(depth?.oldestSeconds ?? 0), .text(order))
        }
      }
    }
    if asJSON { return table.text(asJSON: true) }
    let running = stats.workers.reduce(0) { $0 + $1.taskCount }
    let (tasks, wait, run) = stats.completed
    var text = table.text(asJSON: false)
    text += "\n\(stats.ready) queued, \(stats.scheduled) scheduled, \(running) running; newest task \(stats.newest)\n"
    if tasks > 0 {
      text += "the last \(tasks) completed waited \(milliseconds(wait)) and ran \(milliseconds(run)) on average\n"
    }
    return text
  }

  private static func milliseconds(_ seconds: Double) -> String { "\((seconds * 100_000).rounded() / 100) ms" }
}
