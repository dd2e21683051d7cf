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
    let caller = try Caller(configuration)
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
      let prefix = arguments.first.map { "prefix=\(encoded($0))&" } ?? ""
      try pages(caller, "/keys?\(prefix)", "items")
    case .servers:
      try none(arguments, action)
      Output.write(try caller.ask(.get, "/servers") + "\n" + (try caller.ask(.get, "/insights")) + "\n")
    case .stats:
      guard arguments.count < 2 else { throw .usage("'stats' takes the name of a server, and nothing else") }
      let server = arguments.first.map { "?server=\(encoded($0))" } ?? ""
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
    return encoded(key)
  }

  private static func encoded(_ text: String) -> String {
    String(decoding: PercentEncoding.encoded(Array(text.utf8)), as: UTF8.self)
  }

  /// Prints the elements of all pages of a list, each in a line.
  private static func pages(_ caller: Caller, _ target: String, _ name: StaticString) throws(CommandError) {
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

  /// Whom it asks.
  private struct Caller {
    private static let patience = TimeSpan.seconds(30 as UInt64)
    private static let fields = JSONFields("detail")
    private let url: String
    private let address: SocketAddress

    init(_ configuration: Configuration) throws(CommandError) {
      url = configuration.text(.kvURL) ?? ""
      guard let parsed = Healthcheck.parse(url) else {
        throw .usage("'\(url)' is not http://ADDRESS:PORT or unix:/path/to.sock")
      }
      address = parsed.address
    }

    func ask(_ method: HTTPMethod, _ target: String, _ body: [UInt8] = []) throws(CommandError) -> String {
      let (address, url) = (address, url)
      let result = try OneTask.run { (_, reactor) async throws(HTTPClientError) -> HTTPClientResponse in
        let client = HTTPClient()
        defer { client.closeIdle(on: reactor) }
        let fields = body.isEmpty ? [] : [(name: "Content-Type", value: "application/json")]
        let host = address.isUnix ? "localhost" : address.description
        return try await client.send(
          HTTPClientRequest(method, target, host: host, fields: fields, body: body), to: address,
          until: reactor.now + Caller.patience, on: reactor)
      }
      let answer: HTTPClientResponse
      do throws(HTTPClientError) { answer = try result.get() } catch {
        throw CommandError(message: "\(url): \(error)", exitCode: ExitCode.unavailable)
      }
      if answer.status == 200 { return String(decoding: answer.body, as: UTF8.self) }
      throw CommandError(
        message: "\(answer.status): \(Caller.detail(of: answer.body))",
        exitCode: answer.status == 503 ? ExitCode.unavailable : ExitCode.failure)
    }

    private static func detail(of problem: [UInt8]) -> String {
      var detail: [UInt8]?
      do throws(JSONError) {
        try JSONScanner.read(problem) { (scanner: inout JSONScanner) throws(JSONError) in
          try scanner.object(fields) { (scanner, _) throws(JSONError) in detail = try scanner.string() }
        }
      } catch {
        return "the server refused"
      }
      return detail.map { String(decoding: $0, as: UTF8.self) } ?? "the server refused"
    }
  }
}
