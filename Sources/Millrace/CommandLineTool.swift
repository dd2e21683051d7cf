import Glibc
import Launcher

/// Carries out one command line.
enum CommandLineTool {
  /// Carries out `arguments`, without the program's name, and returns the exit code.
  static func run(_ arguments: [String]) -> Int32 {
    do {
      try dispatch(arguments)
      return ExitCode.success
    } catch {
      Output.write("millrace: \(error.message)\n", to: STDERR_FILENO)
      return error.exitCode
    }
  }

  /// Whether a signal is to stop what `arguments` say in good order. What only asks a server, and ends, it stops as any
  /// other tool.
  static func watchesSignals(_ arguments: [String]) -> Bool {
    guard let command = arguments.first.flatMap(Command.init), command.watchesSignals else { return false }
    guard command == .kv else { return true }
    // Its first operand makes it a tool, and no other word: a server, too, may be called `backup`. What has a wrong
    // flag ends at once.
    let inputs = Configuration.Inputs(arguments: Array(arguments.dropFirst()), environment: [:])
    return (try? Configuration(for: command, inputs))?.operands.isEmpty == true
  }

  private static func dispatch(_ arguments: [String]) throws(CommandError) {
    guard let name = arguments.first else { return Output.write(Help.overview) }
    let rest = Array(arguments.dropFirst())
    if name == ChildStarter.command { return try becomeChild(rest) }
    if ["--help", "-h", "help"].contains(name) {
      guard rest.count < 2 else { throw .usage("'millrace help' takes one command, and no argument '\(rest[1])'") }
      return Output.write(
        try rest.first.map { (name) throws(CommandError) in Help.page(for: try named(name)) }
          ?? Help.overview)
    }
    let command = try ["--version", "-V", "-v"].contains(name) ? .version : named(name)
    if rest.contains("--help") || rest.contains("-h") { return Output.write(Help.page(for: command)) }
    try perform(command, Configuration.Inputs(arguments: rest, environment: Files.environment))
  }

  private static func perform(_ command: Command, _ inputs: Configuration.Inputs) throws(CommandError) {
    if command == .version, inputs.arguments.isEmpty {
      return Output.write("millrace \(Command.programVersion)\n")
    }
    if command == .config { return Output.write(try ConfigTool.run(inputs)) }
    let configuration = try Configuration(for: command, inputs)
    let operandsMax = command.operandsMax
    guard configuration.operands.count <= operandsMax else {
      throw .usage("'millrace \(command)' takes no argument '\(configuration.operands[operandsMax])'")
    }
    switch command {
    case .up: try Up.run(configuration)
    case .status:
      let report = try Status.run(configuration)
      Output.write(report.text)
      if let complaint = report.complaint { throw complaint }
    case .balance: try BalancerRole.run(configuration)
    case .api: try TaskRoles.runAPI(configuration)
    case .worker: try TaskRoles.runWorker(configuration)
    case .service: try ServiceRole.run(configuration)
    case .kv: try runKeyValue(configuration)
    case .kvClean: try StoreTool.clean(configuration)
    case .tasks: try TasksTool.run(configuration)
    case .queue: Output.write(try ControlTool.run(configuration))
    case .workers: Output.write(try WorkersTool.run(configuration))
    case .cache: Output.write(try CacheTool.run(configuration))
    case .migrate: Output.write(try Migrate.run(configuration) + "\n")
    case .token: Output.write(try TokenTool.run(configuration))
    case .bench: try Bench.run(configuration)
    case .doctor: try Doctor.run(configuration)
    case .healthcheck:
      let url = configuration.operands.first ?? "http://127.0.0.1:8000/readyz"
      Output.write(try Healthcheck.run(url) + "\n")
    case .version, .config: break
    }
  }

  /// A server, or what the first operand says.
  private static func runKeyValue(_ configuration: Configuration) throws(CommandError) {
    guard let name = configuration.operands.first else { return try KeyValueRole.run(configuration) }
    let names = KeyValueAction.allCases.map(\.rawValue)
    guard let action = KeyValueAction(rawValue: name) else {
      let near = Spelling.nearest(to: name, in: names).map { "did you mean '\($0)'?" }
      throw .usage("'millrace kv' cannot '\(name)'; " + (near ?? "it can \(names.joined(separator: ", "))"))
    }
    switch action {
    case .export, .import, .backup: try StoreTool.run(action, configuration)
    default: try KeyValueTool.run(action, configuration)
    }
  }

  private static func named(_ name: String) throws(CommandError) -> Command {
    if let command = Command(rawValue: name) { return command }
    let near = Spelling.nearest(to: name, in: Command.allCases.map(\.rawValue))
    throw .usage("unknown command '\(name)'" + (near.map { "; did you mean '\($0)'?" } ?? "; see 'millrace --help'"))
  }

  /// The hidden command through which the launcher starts everything; it ends by becoming another program.
  private static func becomeChild(_ arguments: [String]) throws(CommandError) {
    throw CommandError(message: ChildStarter.become(arguments), exitCode: ExitCode.failure)
  }
}
