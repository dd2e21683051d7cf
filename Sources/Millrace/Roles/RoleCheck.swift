/// Looks whether roles could start, for whoever starts them.
enum RoleCheck {
  /// Reads all that a role is told, and starts nothing.
  /// - Parameter arguments: the command line, without the program.
  /// - Throws: `CommandError` with what the role would end with.
  static func run(_ arguments: [String], environment: [String: String]) throws(CommandError) {
    guard let command = arguments.first.flatMap(Command.init) else { throw .usage("there is no such role") }
    let inputs = Configuration.Inputs(arguments: Array(arguments.dropFirst()), environment: environment)
    let configuration = try Configuration(for: command, inputs)
    switch command {
    case .balance: _ = try BalancerRole.plan(configuration)
    case .api: _ = try TaskRoles.planAPI(configuration)
    case .service: _ = try ServiceRole.plan(configuration)
    case .kv: _ = try KeyValueRole.plan(configuration)
    case .worker: _ = try TaskRoles.planWorker(configuration)
    default: break
    }
  }
}
