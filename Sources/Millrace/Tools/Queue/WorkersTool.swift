import Basics
import Reactor
import TaskQueue

/// `millrace workers`: who works, and who is to.
enum WorkersTool {

  /// Does what the first operand says and returns what is to be printed.
  /// - Throws: `CommandError`: 1 if there is no such worker, 2 for a wrong command line, 75 if PostgreSQL cannot be
  ///   reached.
  static func run(_ configuration: Configuration) throws(CommandError) -> String {
    let tool = try QueueTool<WorkersAction>(configuration)
    switch tool.action {
    case .ls:
      try tool.takesNoArgument()
      return list(
        try tool.run { (queue, reactor) throws(QueueError) in try await queue.stats(on: reactor) }, asJSON: tool.asJSON)
    case .quiet: return try order(tool, .quiet, "finishes what it has and claims nothing more")
    case .resume: return try order(tool, .run, "claims again")
    case .limit: return try limit(tool)
    case .stop: return try order(tool, .stop, "finishes what it has and ends")
    }
  }

  private static func list(_ stats: QueueStats, asJSON: Bool) -> String {
    var table = Table("id", "name", "wanted", "limit", "running", "tasks", "silent", "started")
    for worker in stats.workers {
      table.add(
        .number(worker.id), .text(worker.name), .text("\(worker.wanted)"),
        .text(worker.slotsMax.map(String.init) ?? "-"),
        .number(worker.taskCount),
        .list(worker.tasks), .seconds(worker.silentSeconds), .time(worker.startedAt))
    }
    return table.text(asJSON: asJSON)
  }

  private static func order(
    _ tool: QueueTool<WorkersAction>, _ wanted: QueueOrders.Wanted, _ meaning: String
  ) throws(CommandError) -> String {
    try tell(try tool.onlyArgument("the name or number of a worker"), tool, meaning) {
      (queue, ids, reactor) throws(QueueError) in try await queue.order(workers: ids, wanted, on: reactor)
    }
  }

  private static func limit(_ tool: QueueTool<WorkersAction>) throws(CommandError) -> String {
    guard tool.arguments.count == 2 else {
      throw .usage("'limit' needs the name or number of a worker, and a number or 'off'")
    }
    let slotsMax = try QueueTool<WorkersAction>.limit(tool.arguments[1])
    let meaning =
      slotsMax.map { most in
        let suspect = most > 0 ? ", and one whose worker was lost" : ""
        return "runs at most \(most) long and \(most) heavy tasks at once" + suspect
      }
      ?? "runs as many as it can"
    return try tell(tool.arguments[0], tool, meaning) { (queue, ids, reactor) throws(QueueError) in
      try await queue.limit(workers: ids, to: slotsMax, on: reactor)
    }
  }

  /// Tells those of that name or number.
  private static func tell(
    _ who: String, _ tool: QueueTool<WorkersAction>, _ meaning: String,
    _ act: @escaping @Sendable (QueueClient, [Int64], isolated Reactor) async throws(QueueError) -> [Int64]
  ) throws(CommandError) -> String {
    let told = try tool.run { (queue, reactor) throws(QueueError) in
      let meant = try await queue.stats(on: reactor).workers.filter { $0.name == who || String($0.id) == who }
      let told = try await act(queue, meant.map(\.id), reactor)
      return meant.filter { told.contains($0.id) }.map { "\($0.name) (\($0.id))" }
    }
    guard !told.isEmpty else {
      throw CommandError(
        message: "there is no worker '\(who)'; see 'millrace workers ls'", exitCode: ExitCode.failure)
    }
    return told.map { "\($0) \(meaning)\n" }.joined()
  }
}
