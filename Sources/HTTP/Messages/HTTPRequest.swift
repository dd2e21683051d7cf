import Basics
public import HTTPSyntax
public import Reactor

/// A request as a handler sees it: the parsed head, the whole body, and what the router found. One object serves a
/// connection for its whole life, so a handler must not keep it past its answer.
public final class HTTPRequest {
  /// The parsed head; its ranges are offsets into `headBytes`.
  public let head = RequestHead()
  /// The bytes of the head.
  public internal(set) var headBytes: [UInt8] = []
  /// The decoded body.
  public internal(set) var body: [UInt8] = []
  /// Reads the body as it comes, for a route that streams it; nothing for all others.
  public internal(set) var bodyReader: HTTPBodyReader?
  /// Where the connection comes from.
  public let peer: SocketAddress
  /// The connection it came on, nil for one that somebody else has read.
  weak var stream: Stream?
  /// The name of this request, in answers and logs.
  public internal(set) var id: [UInt8] = []
  /// When its first bytes were there.
  var receivedAt = MonotonicTime(nanoseconds: 0)
  /// What stood in the places of the route's parameters, decoded.
  public internal(set) var parameters: [(name: String, value: String)] = []
  /// Whether its body is on the way in.
  var isBodyWanted = false
  /// The position of the route that was found for it; kept between admission and answer.
  var route: Int?

  init(peer: SocketAddress) {
    self.peer = peer
  }

  /// A request that somebody else has read: `headBytes` is a whole head, nil if it is not.
  public convenience init?(headBytes: [UInt8], body: [UInt8], id: [UInt8], peer: SocketAddress) {
    self.init(peer: peer)
    guard case .complete(headBytes.count) = head.parse(headBytes.span) else { return nil }
    self.headBytes = headBytes
    self.body = body
    self.id = id
  }

  /// Gives back what the last request has left.
  func forget() {
    headBytes = []
    body = []
    parameters = []
  }

  /// Whether the client has ended its side of the connection. It may still be reading, but what can be said now should
  /// not be put off any more: of one that has gone altogether its machine tells no more than this until it is written
  /// to.
  public var hasClientEnded: Bool { stream?.peerHasEnded ?? false }

  /// Has `act` called once if the client ends its side before the request is answered; in the place of what was asked
  /// for before.
  public func whenClientEnds(_ act: @escaping () -> Void) { stream?.whenPeerEnds = act }

  /// The method.
  public var method: HTTPMethod { head.method }

  /// The path, still escaped.
  public var path: ArraySlice<UInt8> { headBytes[head.path] }

  /// The value of the first field that is `known`, nil if there is none.
  public func value(of known: KnownField) -> ArraySlice<UInt8>? {
    head.value(of: known).map { headBytes[$0] }
  }

  /// The value of the first field that is `known` as text, nil if there is none or it is not UTF-8.
  public func text(of known: KnownField) -> String? {
    value(of: known).flatMap { String(validating: $0, as: UTF8.self) }
  }

  /// The decoded route parameter called `name`; it is a fault of the route not to have it.
  public func parameter(_ name: StaticString) -> String {
    for parameter in parameters where parameter.name == name.description { return parameter.value }
    preconditionFailure("the route has no parameter \(name)")
  }

  /// The route parameter called `name`, declared as `{name:int}`.
  public func integer(_ name: StaticString) -> Int {
    guard let value = Int(parameter(name)) else { preconditionFailure("\(name) is not declared as int") }
    return value
  }

  /// The value of the field that is `known`, nil if there is none. Of two, others may have gone by the other one.
  /// - Throws: `Problem` 400 if there is more than one.
  public func onlyValue(of known: KnownField) throws(Problem) -> ArraySlice<UInt8>? {
    let count = (0..<head.fieldCount).count { head[$0].known == known }
    if count > 1 { throw Problem(400, "The field \(known.name) is repeated.") }
    return value(of: known)
  }

  /// The decoded value of the query parameter called `name`, nil if there is none.
  /// - Throws: `Problem` 400 for an escape that is broken, or if there is more than one.
  public func query(_ name: StaticString) throws(Problem) -> String? {
    let bytes = headBytes
    let span = bytes.span
    var pairs = QueryPairs(span, head.query)
    var value: String?
    while let pair = pairs.next(span) {
      guard try decoded(pair.name) == name.description else { continue }
      if value != nil { throw Problem(400, "The query parameter \(name) is repeated.") }
      value = try decoded(pair.value)
    }
    return value
  }

  private func decoded(_ range: Range<Int>) throws(Problem) -> String {
    let escaped = Array(headBytes[range])
    do throws(EscapeError) {
      return try percentDecoded(escaped.span, plusIsSpace: true)
    } catch {
      throw Problem(400, "The query holds an escape that is not valid.")
    }
  }

  /// The answer that tells the client of `problem`.
  public func answer(_ problem: Problem) -> HTTPResponse {
    problem.response(requestID: id)
  }
}
