/// `millrace config`: shows what a command would use, and why.
enum ConfigTool {
  /// The settings of the named command, or of all, with secrets masked. What is made from the same table beside
  /// `--help`: `--markdown` for the article `Settings`, `--manual` for man(1), `--completions` for bash(1).
  static func run(_ inputs: Configuration.Inputs) throws(CommandError) -> String {
    switch inputs.arguments {
    case ["--markdown"]: return Help.markdown
    case ["--manual"]: return Manual.page
    case ["--completions"]: return Manual.completions
    default: break
    }
    var commands: [Command] = [.up, .balance, .api, .worker, .service, .kv]
    var inputs = inputs
    if let name = inputs.arguments.first, !name.hasPrefix("-") {
      guard let command = Command(rawValue: name), !Setting.used(by: command).isEmpty else {
        let names = commands.map(\.rawValue)
        let near = Spelling.nearest(to: name, in: names)
        throw .usage(
          "'\(name)' is no command with settings; "
            + (near.map { "did you mean '\($0)'?" } ?? "try one of \(names.joined(separator: ", "))"))
      }
      commands = [command]
      inputs.arguments.removeFirst()
    } else if let flag = inputs.arguments.first {
      throw .usage(
        "whose flag is '\(flag.prefix { $0 != "=" })'? Name the command: millrace config balance --port 9000")
    }
    var text = ""
    for command in commands {
      let configuration = try Configuration(for: command, inputs)
      if let operand = configuration.operands.first {
        throw .usage("'millrace config \(command)' takes no argument '\(operand)'")
      }
      text += (text.isEmpty ? "" : "\n") + "# millrace \(command)\n"
      for setting in Setting.used(by: command) {
        let value = configuration.text(setting)
        let shown = setting.isSecret && value != nil ? "********" : value ?? ""
        let source = configuration.source(of: setting)?.text ?? "not set"
        text += Help.pad(setting.variable, 26) + Help.pad(shown, 28) + source + "\n"
      }
    }
    return text
  }
}
