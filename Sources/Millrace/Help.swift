/// The texts of `--help`.
enum Help {
  /// What `millrace --help` prints.
  static var overview: String {
    var text = """
      Millrace: a load balancer, an HTTP API for hash tasks, and workers, in one program.

      Usage: millrace COMMAND [flags]

      Commands:

      """
    for command in Command.allCases { text += "  \(pad(command.rawValue, 13))\(command.summary)\n" }
    text += """

      'millrace COMMAND --help' shows its flags and examples. Every flag can also be set by the environment variable
      beside it. Exit codes: 0 success, 1 failure, 2 wrong usage, 75 something it needs is unavailable, 78 wrong
      configuration.

      Begin with:  millrace up

      """
    return text
  }

  /// What `millrace COMMAND --help` prints.
  static func page(for command: Command) -> String {
    let operands = command.operands.map { " " + $0 }.joined()
    var text = "millrace \(command): \(command.summary).\n\nUsage: millrace \(command)\(operands)"
    let settings = Setting.used(by: command)
    if !settings.isEmpty {
      text += " [flags]\n\nFlags, with their environment variables and defaults:\n"
      for setting in settings {
        text += "\n  --\(setting.name) \(setting.valueHint)\n      \(setting.help)\n      [\(names(of: setting))"
        text += setting.defaultValue(for: command).map { ", default \($0)]\n" } ?? "]\n"
      }
    } else {
      text += "\n"
    }
    if !command.examples.isEmpty {
      text += "\nExamples:\n"
      for example in command.examples { text += "\n  # \(example.meaning)\n  \(example.line)\n" }
    }
    return text
  }

  /// The table of all settings in the article `Settings`.
  static var markdown: String {
    var text = "| variable | flag | values | default | used by | what it is |\n|---|---|---|---|---|---|\n"
    for setting in Setting.all {
      let users = Command.allCases.filter { setting.commands.contains($0) }.map(\.rawValue).joined(separator: ", ")
      let hint = setting.valueHint.split(separator: "|").joined(separator: "\\|")
      text +=
        "| `\(setting.variable)`\(setting.isSecret ? " or `\(setting.variable)_FILE`" : "") | `--\(setting.name)` "
      text += "| \(hint) | \(setting.defaultValue.map { "`\($0)`" } ?? "") | \(users) | \(setting.help) |\n"
    }
    return text
  }

  /// `text` filled up with spaces to `width` characters.
  static func pad(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(width - text.count, 1))
  }

  private static func names(of setting: Setting) -> String {
    setting.variable + (setting.fileVariable.map { " or \($0)" } ?? "")
  }
}
