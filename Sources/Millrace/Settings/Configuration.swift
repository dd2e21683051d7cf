/// The settings of one command, each with its value and where it came from. Flags beat the environment, the environment
/// beats a `.env` file (which `up`, `status` and `token` read), and that beats the defaults.
struct Configuration {
  /// Where a value came from.
  enum Source: Equatable {
    case flag
    case variable(String)
    case file(String)
    case dotEnv
    case byDefault

    var text: String {
      switch self {
      case .flag: "flag"
      case .variable(let name): name
      case .file(let path): "file \(path)"
      case .dotEnv: ".env"
      case .byDefault: "default"
      }
    }
  }

  /// What is read from outside; a test gives its own.
  struct Inputs {
    var arguments: [String]
    var environment: [String: String]
    var readFile: (String) -> Files.Content = Files.content
  }

  let command: Command
  /// Arguments that are neither flags nor their values.
  private(set) var operands: [String] = []
  private var values: [String: (value: String, source: Source)] = [:]

  /// Reads and checks everything.
  /// - Throws: `CommandError`: 2 for a wrong flag, 78 for anything wrong in the environment or a file.
  init(for command: Command, _ inputs: Inputs) throws(CommandError) {
    self.command = command
    try readFlags(inputs.arguments)
    try Configuration.checkNames(inputs.environment)
    try readEnvironment(inputs.environment, inputs.readFile) { .variable($0) }
    if [.up, .status, .token, .cache].contains(command) { try readDotEnv(inputs) }
    for setting in Setting.used(by: command) where values[setting.name] == nil {
      if let value = setting.defaultValue(for: command) { values[setting.name] = (value, .byDefault) }
    }
  }

  /// The value in text, nil if there is none.
  func text(_ setting: Setting) -> String? {
    precondition(setting.commands.contains(command), "\(command) does not use \(setting.name)")
    return values[setting.name]?.value
  }

  /// The value of a setting that has a default.
  func integer(_ setting: Setting) -> Int {
    guard let value = text(setting).flatMap({ Int($0) }) else { preconditionFailure("\(setting.name) is no number") }
    return value
  }

  /// The value of a setting that has a default.
  func decimal(_ setting: Setting) -> Double {
    guard let value = text(setting).flatMap({ Double($0) }) else { preconditionFailure("\(setting.name) is no number") }
    return value
  }

  /// Whether a flag is on; off if nobody says.
  func isOn(_ setting: Setting) -> Bool {
    text(setting).flatMap(Setting.truth(of:)) ?? false
  }

  /// The values of a list, without blanks around them and without empty ones.
  func list(_ setting: Setting) -> [String] {
    (text(setting) ?? "").split(separator: ",").map(Configuration.trimmed).filter { !$0.isEmpty }
  }

  private static func trimmed(_ text: Substring) -> String {
    var text = text.drop { $0 == " " || $0 == "\t" }
    while let last = text.last, last == " " || last == "\t" { text.removeLast() }
    return String(text)
  }

  /// The chosen name in lower case, with `_` for `-`.
  func choice(_ setting: Setting) -> String {
    Setting.plain(text(setting) ?? "")
  }

  /// Where the value came from; nil if there is none.
  func source(of setting: Setting) -> Source? { values[setting.name]?.source }

  /// The environment variables that give another command the values set here; defaults that it shares are left to it,
  /// and how its log lines look is not: it may write into something else than this process does.
  func environment(for other: Command) -> [String: String] {
    var variables: [String: String] = [:]
    for setting in Setting.used(by: command) where setting.commands.contains(other) {
      guard setting.name != Setting.logs.name, let value = values[setting.name] else { continue }
      let isShared = setting.defaultValue(for: command) == setting.defaultValue(for: other)
      if value.source != .byDefault || !isShared { variables[setting.variable] = value.value }
    }
    return variables
  }

  private mutating func readFlags(_ arguments: [String]) throws(CommandError) {
    let settings = Setting.used(by: command)
    var rest = arguments[...]
    while let argument = rest.popFirst() {
      guard argument.hasPrefix("-"), argument != "-" else {
        operands.append(argument)
        continue
      }
      let parts = argument.drop { $0 == "-" }.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = parts.first.map(String.init) ?? ""
      guard argument.hasPrefix("--"), let setting = settings.first(where: { $0.name == name }) else {
        let near = Spelling.nearest(to: name, in: settings.map(\.name)).map { "; did you mean '--\($0)'?" }
        // Never the value behind it: a mistyped flag may hold a secret.
        let shown = argument.prefix { $0 != "=" }
        throw .usage("unknown flag '\(shown)' for 'millrace \(command)'\(near ?? "")")
      }
      let value: String
      if parts.count == 2 {
        value = String(parts[1])
      } else if case .flag = setting.kind, rest.first.flatMap(Setting.truth(of:)) == nil {
        value = "on"
      } else {
        guard let next = rest.popFirst() else { throw .usage("the flag --\(name) needs a value: \(setting.valueHint)") }
        value = next
      }
      if let problem = setting.problem(with: value) { throw .usage("--\(name): \(problem)") }
      if case .list = setting.kind, let earlier = values[name] {
        values[name] = (earlier.value + "," + value, .flag)
      } else {
        values[name] = (value, .flag)
      }
    }
  }

  /// A `.env` that is not there is none; one that is there and cannot be read would be missed.
  private mutating func readDotEnv(_ inputs: Inputs) throws(CommandError) {
    switch inputs.readFile(DotEnv.name) {
    case .missing: return
    case .unreadable(let reason): throw .configuration("cannot read '\(DotEnv.name)': \(reason)")
    case .text(let text):
      let variables = try DotEnv.parse(text, environment: inputs.environment)
      try Configuration.checkNames(variables)
      try readEnvironment(variables, inputs.readFile) { _ in .dotEnv }
    }
  }

  private mutating func readEnvironment(
    _ environment: [String: String], _ readFile: (String) -> Files.Content, _ source: (String) -> Source
  ) throws(CommandError) {
    for setting in Setting.used(by: command) where values[setting.name] == nil {
      if let value = environment[setting.variable], !value.isEmpty {
        if let problem = setting.problem(with: value) { throw .configuration("\(setting.variable): \(problem)") }
        values[setting.name] = (value, source(setting.variable))
      } else if let variable = setting.fileVariable, let path = environment[variable], !path.isEmpty {
        let value = try Configuration.secret(in: readFile(path), path, variable)
        if let problem = setting.problem(with: value) { throw .configuration("\(variable): \(problem)") }
        values[setting.name] = (value, .file(path))
      }
    }
  }

  /// What stands in a file with a secret, without the end of its line.
  private static func secret(
    in content: Files.Content, _ path: String, _ variable: String
  ) throws(CommandError) -> String {
    switch content {
    case .missing: throw .configuration("\(variable): cannot read '\(path)': there is no such file")
    case .unreadable(let reason): throw .configuration("\(variable): cannot read '\(path)': \(reason)")
    case .text(let text):
      var value = Substring(text)
      while let last = value.last, last.isNewline || last == " " { value.removeLast() }
      // An empty password or token would be taken for none, or for one that everybody knows.
      guard !value.isEmpty else { throw .configuration("\(variable): '\(path)' is empty") }
      return String(value)
    }
  }

  /// Stops at a `MILLRACE_…` variable that means nothing: it is a typing error, and going on would hide it.
  private static func checkNames(_ environment: [String: String]) throws(CommandError) {
    let known = Setting.all.flatMap { [$0.variable] + ($0.fileVariable.map { [$0] } ?? []) } + Setting.foreignVariables
    for name in environment.keys.sorted() where name.hasPrefix("MILLRACE_") && !known.contains(name) {
      let near = Spelling.nearest(to: name, in: known.filter { $0.hasPrefix("MILLRACE_") })
      throw .configuration("unknown variable \(name)" + (near.map { "; did you mean \($0)?" } ?? ""))
    }
  }
}
