import Basics
import Glibc
import Postgres
import Reactor
import TaskQueue
import Telemetry

/// What `millrace tasks`, `queue` and `workers` have in common: their first operand says what to do, they work on the
/// queue that is configured or on that of the system that runs in this folder, and they print tables.
struct QueueTool<Action: RawRepresentable<String> & CaseIterable & Sendable>: Sendable {
  /// What is to be done, and to what.
  let action: Action
  let arguments: [String]
  let asJSON: Bool
  private let queue: QueueConfiguration

  /// - Throws: `CommandError`: 2 if the first operand is none of the command's actions.
  init(_ configuration: Configuration) throws(CommandError) {
    let command = configuration.command
    let actions = Action.allCases.map(\.rawValue)
    guard let name = configuration.operands.first else {
      throw .usage(
        "'millrace \(command)' does one of \(actions.joined(separator: ", ")); see 'millrace \(command) --help'")
    }
    guard let action = Action(rawValue: name) else {
      let near = Spelling.nearest(to: name, in: actions).map { "did you mean '\($0)'?" }
      throw .usage("'millrace \(command)' cannot '\(name)'; " + (near ?? "it can \(actions.joined(separator: ", "))"))
    }
    self.action = action
    arguments = Array(configuration.operands.dropFirst())
    // A person sees a table, a program that reads the output does not.
    asJSON = configuration.source(of: .json) == .byDefault ? isatty(STDOUT_FILENO) == 0 : configuration.isOn(.json)
    queue = configuration.queueAtHand
  }

  /// The numbers of tasks that the arguments are, each once.
  /// - Throws: `CommandError`: 2 if there are none or one is no number.
  func ids() throws(CommandError) -> [Int64] {
    guard !arguments.isEmpty else { throw .usage("'\(action.rawValue)' needs the number of a task") }
    var ids: [Int64] = []
    for argument in arguments {
      guard let id = Int64(argument), id > 0 else { throw .usage("'\(argument)' is no number of a task") }
      if !ids.contains(id) { ids.append(id) }
    }
    return ids
  }

  /// The bound that `argument` is, nil for 'off'.
  /// - Throws: `CommandError`: 2 if it is neither.
  static func limit(_ argument: String) throws(CommandError) -> Int32? {
    if argument == "off" { return nil }
    guard let most = Int32(argument), 0...100_000 ~= most else {
      throw .usage("'\(argument)' is neither 0 to 100000 nor 'off'")
    }
    return most
  }

  /// - Throws: `CommandError`: 2 if there is any.
  func takesNoArgument() throws(CommandError) {
    if let first = arguments.first { throw .usage("'\(action.rawValue)' takes no argument '\(first)'") }
  }

  /// The argument there is.
  /// - Throws: `CommandError`: 2 if there is another number of them.
  func onlyArgument(_ what: String) throws(CommandError) -> String {
    guard arguments.count == 1 else { throw .usage("'\(action.rawValue)' needs \(what), and nothing else") }
    return arguments[0]
  }

  /// Runs `body` with a client of the queue.
  /// - Throws: `CommandError`: 75 if PostgreSQL cannot be reached or refuses.
  func run<R: Sendable>(
    _ body: @escaping @Sendable (QueueClient, isolated Reactor) async throws(QueueError) -> R
  ) throws(CommandError) -> R {
    let log = Logger(sink: LogSink(fd: STDERR_FILENO), subsystem: "queue", level: .error)
    defer { log.flush() }
    return try OneTask.runWithQueue { [queue] (pool, reactor) throws(QueueError) in
      let client = QueueClient(queue, pool: pool, log: log, metrics: Metrics())
      client.start(on: reactor)
      defer { client.close(on: reactor) }
      return try await body(client, reactor)
    }
  }
}
