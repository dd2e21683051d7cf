/// What an installation puts beside the program, made from the same tables as `--help`.
enum Manual {
  /// The page of section 1 of the manual, in the language of man(7).
  static var page: String {
    var text = """
      .TH MILLRACE 1 "" "millrace \(Command.programVersion)" "User Commands"
      .SH NAME
      millrace \\- load balancer, HTTP API for hash tasks, and workers in one program
      .SH SYNOPSIS
      .B millrace
      .I COMMAND
      [flags]
      .SH DESCRIPTION
      Requests go through the balancer to an API process, which answers from its caches or stores a task in PostgreSQL;
      a worker computes it. Each role is a process;
      .B millrace up
      starts all of them.
      .SH COMMANDS

      """
    for command in Command.allCases {
      text += ".TP\n.B \(command.rawValue)\n\(escaped(command.summary)).\n"
      text += ".RS\n"
      for example in command.examples {
        text += ".PP\n\(escaped(example.meaning)):\n.RS\n\(escaped(example.line))\n.RE\n"
      }
      text += ".RE\n"
    }
    text += """
      .SH SETTINGS
      A flag beats an environment variable, that beats a .env file in the current folder (read by up, status and token),
      and that beats the default.

      """
    for setting in Setting.all {
      let file = setting.fileVariable.map { ", \($0)" } ?? ""
      let users = Command.allCases.filter { setting.commands.contains($0) }.map(\.rawValue).joined(separator: ", ")
      let value = setting.defaultValue.map { "; default \($0)" } ?? ""
      text += ".TP\n.BR \(escaped("--\(setting.name)")) \" \(escaped(setting.valueHint))\"\n"
      text += escaped(setting.help) + ".\n.br\n" + escaped("\(setting.variable)\(file); \(users)\(value)") + "\n"
    }
    text += """
      .SH EXIT STATUS
      0 success, also a stop by signal; 1 failure; 2 wrong usage; 75 something it needs is unavailable; 78 wrong
      configuration.

      """
    return text
  }

  /// A script that lets bash complete commands, flags, and values that are one of a few.
  static var completions: String {
    var choices = ""
    var seen: Set<String> = []
    for setting in Setting.all where seen.insert(setting.name).inserted {
      let words: [String]
      switch setting.kind {
      case .choice(let names): words = names
      case .flag: words = ["on", "off"]
      default: continue
      }
      choices += "    --\(setting.name)) words=\"\(words.joined(separator: " "))\" ;;\n"
    }
    var flags = ""
    for command in Command.allCases {
      let names = Setting.used(by: command).map { "--\($0.name)" } + ["--help"]
      flags += "      \(command.rawValue)) words=\"\(names.joined(separator: " "))\" ;;\n"
    }
    return """
      # Lets bash complete the commands and flags of millrace. Made by 'millrace config --completions'.
      _millrace() {
        local word=${COMP_WORDS[COMP_CWORD]} words=
        case ${COMP_WORDS[COMP_CWORD - 1]} in
      \(choices)  esac
        if [ "$COMP_CWORD" -eq 1 ]; then
          words="\(Command.allCases.map(\.rawValue).joined(separator: " ")) help"
        elif [ -z "$words" ]; then
          case ${COMP_WORDS[1]} in
      \(flags)    esac
        fi
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
      }
      complete -o default -F _millrace millrace

      """
  }

  /// `text` with what groff takes for itself written out: a point or quote at the beginning, backslashes, dashes.
  private static func escaped(_ text: String) -> String {
    let plain = text.replacing("\\", with: "\\e").replacing("-", with: "\\-")
    return plain.hasPrefix(".") || plain.hasPrefix("'") ? "\\&" + plain : plain
  }
}
