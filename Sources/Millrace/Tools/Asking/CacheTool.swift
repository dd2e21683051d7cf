import Basics
import HTTPSyntax
import Tokens

/// `millrace cache`: asks the system for its caches' figures and entries, and has it forget them, as any client could.
enum CacheTool {
  /// Does what the first operand says and returns what is to be printed: the answer, JSON.
  /// - Throws: `CommandError`: 1 if the system refuses, 2 for a wrong command line, 75 if it cannot be reached.
  static func run(_ configuration: Configuration) throws(CommandError) -> String {
    let names = CacheAction.allCases.map(\.rawValue)
    guard let name = configuration.operands.first else {
      throw .usage("'millrace cache' does one of \(names.joined(separator: ", ")); see 'millrace cache --help'")
    }
    guard let action = CacheAction(rawValue: name) else {
      let near = Spelling.nearest(to: name, in: names).map { "did you mean '\($0)'?" }
      throw .usage("'millrace cache' cannot '\(name)'; " + (near ?? "it can \(names.joined(separator: ", "))"))
    }
    let key = configuration.operands.count > 1 ? configuration.operands[1] : nil
    let takesKey = action == .get || action == .invalidate
    if takesKey, key ?? "" == "" { throw .usage("'\(name)' needs a key") }
    if !takesKey, let key { throw .usage("'\(name)' takes no argument '\(key)'") }
    let caller = try HTTPCaller(configuration.text(.url) ?? "", token: try token(for: action, configuration))
    switch action {
    case .stats: return try caller.ask(.get, "/cache/stats") + "\n"
    case .get: return try caller.ask(.get, "/cache/\(HTTPCaller.encoded(key ?? ""))") + "\n"
    case .invalidate:
      var json = JSONWriter()
      // What ends with a star is all that begins so.
      let (isPrefix, text) =
        key.map { ($0.hasSuffix("*"), $0.hasSuffix("*") ? String($0.dropLast()) : $0) } ?? (false, "")
      json.object { $0.field(isPrefix ? "prefix" : "key", text) }
      return try caller.ask(.post, "/cache/invalidate", json.bytes) + "\n"
    case .clear: return try caller.ask(.post, "/cache/clear") + "\n"
    }
  }

  /// The token that was given, or one of the keys of the system that runs in this folder.
  private static func token(
    for action: CacheAction, _ configuration: Configuration
  ) throws(CommandError) -> String? {
    if action == .stats { return nil }
    if let token = configuration.text(.token) { return token }
    let authority: TokenAuthority
    do throws(TokenKeys.Failure) {
      authority = try TokenAuthority(keysAt: configuration.tokenKeysPath, rules: configuration.tokenRules)
    } catch {
      throw .usage("'\(action.rawValue)' needs a token: set MILLRACE_TOKEN, or call it where 'millrace up' runs")
    }
    let token = authority.token(
      for: "millrace cache", scopes: action == .clear ? ["admin"] : [], lifetimeSeconds: 60,
      at: Timestamp.current().seconds)
    return token.map { String(decoding: $0, as: UTF8.self) }
  }
}
