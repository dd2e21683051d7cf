import Basics
import Glibc
import Reactor
import TaskQueue
import Tasks

/// `millrace tasks`: lists, shows and watches tasks, cancels and retries them, and forgets those that are over.
enum TasksTool {
  /// Does what the first operand says; what takes long is printed as it comes.
  /// - Throws: `CommandError`: 1 if a task is not there or not in a state for it, 2 for a wrong command line, 75 if
  ///   PostgreSQL cannot be reached.
  static func run(_ configuration: Configuration) throws(CommandError) {
    let tool = try QueueTool<TasksAction>(configuration)
    switch tool.action {
    case .ls: try list(tool, configuration)
    case .show: try show(tool)
    case .watch: try watch(tool)
    case .cancel: try cancel(tool)
    case .retry: try retry(tool, configuration)
    case .purge: try purge(tool, configuration)
    }
  }

  private static func state(_ configuration: Configuration) -> TaskState? {
    configuration.text(.taskStatus).flatMap { TaskState(name: $0) }
  }

  private static func list(_ tool: QueueTool<TasksAction>, _ configuration: Configuration) throws(CommandError) {
    try tool.takesNoArgument()
    let kinds = configuration.text(.taskType).map { [$0] }
    let (state, limit) = (state(configuration), configuration.integer(.taskLimit))
    let tasks = try tool.run { (queue, reactor) throws(QueueError) in
      var tasks: [TaskRecord] = []
      var cursor: Int64?
      repeat {
        let page = try await queue.page(
          before: cursor, state: state, kinds: kinds, limit: limit - tasks.count, on: reactor)
        tasks += page.tasks
        cursor = page.next
      } while cursor != nil && tasks.count < limit
      return tasks
    }
    show(tasks, asJSON: tool.asJSON)
  }

  private static func show(_ tasks: [TaskRecord], asJSON: Bool) {
    if asJSON {
      return Output.write(
        tasks.map { String(decoding: $0.json, as: UTF8.self) + "\n" }.joined())
    }
    var table = Table("id", "type", "priority", "status", "attempts", "created", "started", "completed", "error")
    for task in tasks {
      table.add(
        .number(task.id), .text(task.kind), .text(task.priority.name),
        .text(task.state.name + (task.progress.map { " \(Int($0 * 100)) %" } ?? "")), .number(Int64(task.attempts)),
        .time(task.createdAt), .time(task.startedAt), .time(task.completedAt), .text(task.error ?? "-"))
    }
    Output.write(table.text(asJSON: false))
  }

  private static func show(_ tool: QueueTool<TasksAction>) throws(CommandError) {
    let ids = try tool.ids()
    let found = try tool.run { (queue, reactor) throws(QueueError) in
      var found: [TaskRecord] = []
      for id in ids { if let task = try await queue.task(id, on: reactor) { found.append(task) } }
      return found
    }
    // Results are for whoever asks for a task by its number, so they are shown whole.
    for task in found { Output.write(String(decoding: task.json, as: UTF8.self) + "\n") }
    try missing(ids, Set(found.map(\.id)), "there is no such task")
  }

  private static func missing(_ ids: [Int64], _ done: Set<Int64>, _ reason: String) throws(CommandError) {
    let rest = ids.filter { !done.contains($0) }
    if rest.isEmpty { return }
    let numbers = rest.prefix(10).map(String.init).joined(separator: ", ") + (rest.count > 10 ? ", …" : "")
    throw CommandError(message: "\(numbers): \(reason)", exitCode: ExitCode.failure)
  }

  private static func watch(_ tool: QueueTool<TasksAction>) throws(CommandError) {
    let ids = try tool.ids()
    guard ids.count == 1 else { throw .usage("'watch' takes one task") }
    let last = try tool.run { (queue, reactor) throws(QueueError) in
      var shown = ""
      while let task = try await queue.task(ids[0], on: reactor) {
        let line = String(decoding: task.json, as: UTF8.self) + "\n"
        if line != shown { Output.write(line) }
        shown = line
        if task.state.isTerminal { return TaskState?.some(task.state) }
        await reactor.sleep(for: .milliseconds(200))
      }
      return nil
    }
    guard let last else { return try missing(ids, [], "there is no such task") }
    if last != .completed { throw CommandError(message: "the task is \(last.name)", exitCode: ExitCode.failure) }
  }

  private static func cancel(_ tool: QueueTool<TasksAction>) throws(CommandError) {
    let ids = try tool.ids()
    let done = try tool.run { (queue, reactor) throws(QueueError) in
      var done: Set<Int64> = []
      for id in ids where try await queue.cancel(id, on: reactor) { done.insert(id) }
      return done
    }
    Output.write("Cancelled \(done.count) of \(ids.count).\n")
    try missing(ids, done, "over already, or not there")
  }

  private static func retry(_ tool: QueueTool<TasksAction>, _ configuration: Configuration) throws(CommandError) {
    guard let state = state(configuration) else {
      let ids = try tool.ids()
      let done = try tool.run { (queue, reactor) throws(QueueError) in try await queue.retry(ids, on: reactor) }
      Output.write("Begun anew: \(done.count) of \(ids.count).\n")
      return try missing(
        ids, Set(done), "not failed or cancelled, or its input is gone, as that of argon2 and of the oldest is")
    }
    try tool.takesNoArgument()
    guard state == .failed || state == .cancelled else {
      throw .usage("--status: tasks that are \(state.name) cannot be retried, but failed and cancelled ones")
    }
    try eachLot(tool, state, seconds: 0, verb: "begun anew", isDry: configuration.isOn(.dryRun)) {
      (queue, ids, _, reactor) throws(QueueError) in try await queue.retry(ids, on: reactor).count
    }
  }

  private static func purge(_ tool: QueueTool<TasksAction>, _ configuration: Configuration) throws(CommandError) {
    let state = state(configuration)
    if !tool.arguments.isEmpty { return try purge(try tool.ids(), tool, state, configuration) }
    if let state, !state.isTerminal { throw .usage("--status: tasks that are \(state.name) cannot be purged") }
    try eachLot(
      tool, state, seconds: Double(configuration.integer(.olderThan)), verb: "purged",
      isDry: configuration.isOn(.dryRun)
    ) { (queue, ids, isPast, reactor) throws(QueueError) in
      try await queue.purge(ids, isPast: isPast, on: reactor).count
    }
  }

  private static func purge(
    _ ids: [Int64], _ tool: QueueTool<TasksAction>, _ state: TaskState?, _ configuration: Configuration
  ) throws(CommandError) {
    if state != nil { throw .usage("'purge' takes numbers of tasks or --status, not both") }
    if configuration.source(of: .olderThan) != .byDefault {
      throw .usage("'purge' takes numbers of tasks or --older-than, not both")
    }
    let isDry = configuration.isOn(.dryRun)
    let done = try tool.run { (queue, reactor) throws(QueueError) in
      if isDry {
        var over: [Int64] = []
        for id in ids where try await queue.task(id, on: reactor)?.state.isTerminal == true { over.append(id) }
        return over
      }
      return try await queue.purge(ids, isPast: false, on: reactor) + queue.purge(ids, isPast: true, on: reactor)
    }
    Output.write(isDry ? "\(done.count) would be purged.\n" : "\(done.count) of \(ids.count) purged.\n")
    try missing(ids, Set(done), "not over, or not there")
  }

  /// Goes through tasks that are over and does something to them, lot by lot, and says how far it is.
  private static func eachLot(
    _ tool: QueueTool<TasksAction>, _ state: TaskState?, seconds: Double, verb: String, isDry: Bool,
    _ act: @escaping @Sendable (QueueClient, [Int64], Bool, isolated Reactor) async throws(QueueError) -> Int
  ) throws(CommandError) {
    let (found, done) = try tool.run { (queue, reactor) throws(QueueError) in
      var (found, done) = (0, 0)
      var toldAt = reactor.now
      for isPast in [true, false] {
        var last = 0 as Int64
        while true {
          let lot = try await queue.ended(
            after: last, isPast: isPast, state: state, forSeconds: seconds, on: reactor)
          guard let newest = lot.last else { break }
          last = newest
          found += lot.ids.count
          if !isDry, !lot.ids.isEmpty { done += try await act(queue, lot.ids, isPast, reactor) }
          if reactor.now.since(toldAt) >= .seconds(1 as UInt64) {
            toldAt = reactor.now
            Output.write("\(found) found, \(done) \(verb), up to task \(last) …\n", to: STDERR_FILENO)
          }
        }
      }
      return (found, done)
    }
    let text = isDry ? "\(found) would be \(verb).\n" : "\(done) of \(found) \(verb).\n"
    Output.write(text)
  }
}
