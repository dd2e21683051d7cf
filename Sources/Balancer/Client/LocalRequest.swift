import Backends
import HTTP
import HTTPSyntax
import Basics
import Reactor

/// A request for the balancer itself while its body arrives.
final class LocalRequest {
  private let head: [UInt8]
  /// Whether it is counted: probes are not.
  let isLimited: Bool
  /// The body on the way in.
  var body: BodyDecoder
  /// What has come of it.
  var bytes: [UInt8] = []
  /// The answer, once it is at hand.
  var answer: LocalAnswer?

  init(head: [UInt8], framing: BodyFraming, isLimited: Bool) {
    self.head = head
    self.isLimited = isLimited
    body = BodyDecoder(framing)
  }

  /// The request as it goes to the operations' reactor.
  func question(id: [UInt8], peer: String) -> LocalQuestion {
    LocalQuestion(head: head, body: bytes, id: id, peer: peer)
  }

  /// Whether the request is for the balancer itself: one of its own paths, or one that says that nobody behind the
  /// balancer is to get it. `/readyz` is its own until every backend was seen well, and one behind each name; then a
  /// backend answers.
  static func isFor(_ head: RequestHead, in scratch: ByteScratch, _ proxy: ProxyReactor) -> Bool {
    if head.method == .trace || head.method == .options {
      if let given = head.value(of: .maxForwards), HeadRewriting.maxForwards(scratch.range(given)) == 0 { return true }
    }
    let path = scratch.range(head.path)
    if path.count < 2 { return head.method != .options || path.first != UInt8(ascii: "*") }
    if path.begins(with: "/lb/") || path.equals("/metrics") || path.equals("/livez") { return true }
    return isProbe(head, in: scratch) && !proxy.backends.unchecked.isEmpty
  }

  /// Whether the request asks, on behalf of whoever runs the system, whether it lives or is ready.
  static func isProbe(_ head: RequestHead, in scratch: ByteScratch) -> Bool {
    guard head.method == .get || head.method == .head else { return false }
    let path = scratch.range(head.path)
    return path.equals("/livez") || path.equals("/readyz")
  }
}

/// A request for the balancer itself on its way to the reactor of operations.
struct LocalQuestion: Sendable {
  let head: [UInt8]
  let body: [UInt8]
  let id: [UInt8]
  let peer: String
}

/// What the balancer answers itself, as plain bytes that may go from one reactor to another.
struct LocalAnswer: Sendable {
  let status: Int
  private let fields: [UInt8]
  let body: [UInt8]

  init(_ response: HTTPResponse) {
    status = response.status
    fields = response.fields
    guard case .bytes(let bytes) = response.body else { preconditionFailure("the balancer streams no answers") }
    body = bytes
  }

  /// Appends the head as it is sent; see `HTTPResponse.appendHead`.
  func appendHead(
    to bytes: inout [UInt8], date: [UInt8], requestID: [UInt8], keepsAlive: Bool, minorVersion: Int
  ) {
    HTTPResponse(status, fields: fields, body: body).appendHead(
      to: &bytes, date: date, requestID: requestID, keepsAlive: keepsAlive, minorVersion: minorVersion)
  }
}
