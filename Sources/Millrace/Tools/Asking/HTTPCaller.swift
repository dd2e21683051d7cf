import Basics
import HTTP
import HTTPSyntax
import Reactor

/// Whom a tool asks that goes the way of all clients: an address, and what lets it in.
struct HTTPCaller {
  private static let patience = TimeSpan.seconds(30 as UInt64)
  private static let fields = JSONFields("detail")
  private let url: String
  private let address: SocketAddress
  private let token: String?

  /// - Parameter token: sent as a bearer's (RFC 6750 §2.1); nil sends none.
  /// - Throws: `CommandError`: 2 if `url` is none.
  init(_ url: String, token: String? = nil) throws(CommandError) {
    guard let parsed = Healthcheck.parse(url) else {
      throw .usage("'\(url)' is not http://ADDRESS:PORT or unix:/path/to.sock")
    }
    (self.url, self.token, address) = (url, token, parsed.address)
  }

  /// What it answers with 200.
  /// - Throws: `CommandError` with its own words: 1 if it refuses, 75 if it cannot be reached or cannot answer now.
  func ask(_ method: HTTPMethod, _ target: String, _ body: [UInt8] = []) throws(CommandError) -> String {
    let (address, token) = (address, token)
    let result = try OneTask.run { (_, reactor) async throws(HTTPClientError) -> HTTPClientResponse in
      let client = HTTPClient()
      defer { client.closeIdle(on: reactor) }
      var fields = body.isEmpty ? [] : [(name: "Content-Type", value: "application/json")]
      if let token { fields.append(("Authorization", "Bearer \(token)")) }
      let host = address.isUnix ? "localhost" : address.description
      return try await client.send(
        HTTPClientRequest(method, target, host: host, fields: fields, body: body), to: address,
        until: reactor.now + HTTPCaller.patience, on: reactor)
    }
    let answer: HTTPClientResponse
    do throws(HTTPClientError) { answer = try result.get() } catch {
      throw CommandError(message: "\(url): \(error)", exitCode: ExitCode.unavailable)
    }
    if answer.status == 200 { return String(decoding: answer.body, as: UTF8.self) }
    throw CommandError(
      message: "\(answer.status): \(HTTPCaller.detail(of: answer.body))",
      exitCode: answer.status == 503 ? ExitCode.unavailable : ExitCode.failure)
  }

  /// `text` as a part of a path or a query.
  static func encoded(_ text: String) -> String {
    String(decoding: PercentEncoding.encoded(Array(text.utf8)), as: UTF8.self)
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
