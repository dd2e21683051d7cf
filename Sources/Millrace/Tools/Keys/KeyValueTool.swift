import Basics
import Glibc
import HTTP
import HTTPSyntax
import Reactor

/// `millrace kv get|put|history|keys|servers|stats`: asks a server, or the balancer before several, and prints what it
/// answers, a JSON text a line.
enum KeyValueTool {
  /// Does what the first operand says.
  /// - Throws: `CommandError`: 1 if the server refuses, 2 for a wrong command line, 75 if it cannot be reached.
  static func run(_ action: KeyValueAction, _ configuration: Configuration) throws(CommandError) {
    let arguments = Array(configuration.operands.dropFirst())
    let caller = try HTTPCaller(configuration.text(.kvURL) ?? "")
    switch action {
    case .get:
      let version = configuration.text(.kvVersion).map { "?version=\($0)" } ?? ""
      Output.write(try caller.ask(.get, "/get/\(try key(arguments, only: true))\(version)") + "\n")
    case .put:
      let path = "/put/\(try key(arguments, only: false))"
      guard arguments.count == 2 else { throw .usage("'put' needs a key and a JSON value, or - to read it") }
      let value = arguments[1] == "-" ? Files.standardInput() : Array(arguments[1].utf8)
      Output.write(try caller.ask(.put, path, Array(#"{"value":"#.utf8) + value + Array("}".utf8)) + "\n")
    case .history: try pages(caller, "/history/\(try key(arguments, only: true))?", "versions")
    case .keys:
      guard arguments.count < 2 else { throw .usage("'keys' takes a prefix, and nothing else") }
      let prefix = arguments.first.map { "prefix=\(HTTPCaller.encoded($0))&" } ?? ""
      try pages(caller, "/keys?\(prefix)", "items")
    case .servers:
      try none(arguments, action)
      Output.write(try caller.ask(.get, "/servers") + "\n" + (try caller.ask(.get, "/insights")) + "\n")
    case .stats:
      guard arguments.count < 2 else { throw .usage("'stats' takes the name of a server, and nothing else") }
      let server = arguments.first.map { "?server=\(HTTPCaller.encoded($0))" } ?? ""
      for path in ["/cache/stats", "/db/stats"] { Output.write(try caller.ask(.get, path + server) + "\n") }
    case .export, .import, .backup: preconditionFailure("this is done without a server")
    }
  }

  /// - Throws: `CommandError`: 2 if there is any.
  static func none(_ arguments: [String], _ action: KeyValueAction) throws(CommandError) {
    if let first = arguments.first { throw .usage("'\(action.rawValue)' takes no argument '\(first)'") }
  }

  private static func key(_ arguments: [String], only: Bool) throws(CommandError) -> String {
    guard let key = arguments.first, !key.isEmpty, !only || arguments.count == 1 else {
      throw .usage("a key is needed" + (only ? ", and nothing else" : ""))
    }
    return HTTPCaller.encoded(key)
  }

  /// Prints the elements of all pages of a list, each in a line.
  private static func pages(_ caller: HTTPCaller, _ target: String, _ name: StaticString) throws(CommandError) {
    var cursor: String?
    repeat {
      let answer = try caller.ask(.get, target + "limit=1000" + (cursor.map { "&cursor=\($0)" } ?? ""))
      let fields = JSONFields(name, "next_cursor")
      do throws(JSONError) {
        cursor = try JSONScanner.read(Array(answer.utf8)) { (scanner: inout JSONScanner) throws(JSONError) in
          var next: String?
          try scanner.object(fields) { (scanner: inout JSONScanner, field) throws(JSONError) in
            if field == 0 {
              try scanner.array { (scanner: inout JSONScanner) throws(JSONError) in
                Output.write(String(decoding: try scanner.skip(), as: UTF8.self) + "\n")
              }
            } else if try !scanner.null() {
              next = String(decoding: try scanner.string(), as: UTF8.self)
            }
          }
          return next
        }
      } catch {
        throw CommandError(message: "the server's answer cannot be read", exitCode: ExitCode.failure)
      }
    } while cursor != nil
  }
}
