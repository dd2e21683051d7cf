import CLinux

/// Secrets that were given as flags. For a moment, until this program runs, everybody on the machine can read them; a
/// file is better. But they do not stay there for the hours that a role runs.
enum SecretFlags {
  /// Takes the secrets among `arguments`, the command line without the program, out of what `/proc/pid/cmdline` shows.
  static func hide(in arguments: [String]) {
    for (index, from) in places(in: arguments) { clinux_hide_argument(CInt(index + 1), from) }
  }

  /// Where secrets stand: in which argument, and behind how many bytes of it.
  static func places(in arguments: [String]) -> [(index: Int, from: Int)] {
    let flags = Set(Setting.all.filter(\.isSecret).map { "--" + $0.name })
    return arguments.indices.compactMap { index in
      let argument = arguments[index]
      if index > 0, flags.contains(arguments[index - 1]) { return (index, 0) }
      guard let equals = argument.firstIndex(of: "="), flags.contains(String(argument[..<equals])) else { return nil }
      return (index, argument[...equals].utf8.count)
    }
  }
}
