/// The head of one request, parsed in place: an object that its owner makes once and fills again and again, holding
/// offsets into the buffer it was parsed from. Nothing is allocated, and nothing ambiguous is accepted (RFC 9112).
///
/// It is valid for as long as its owner keeps the bytes at the same offsets.
public final class RequestHead {
  var table = FieldTable()
  private var isRequestLineRead = false

  /// The method; `methodName` has its spelling.
  public internal(set) var method = HTTPMethod.other
  /// The method's bytes.
  public internal(set) var methodName = 0..<0
  /// The path of the target, with its escapes; empty means `/`. `*` for a server-wide OPTIONS.
  public internal(set) var path = 0..<0
  /// The query of the target, with its `?`; empty if there is none.
  public internal(set) var query = 0..<0
  /// Host and port: from an absolute-form target, which overrules the Host field (RFC 9112 §3.2.2), or else from that.
  /// Empty only in HTTP/1.0.
  public internal(set) var authority = 0..<0
  /// The minor version: 0 or 1.
  public internal(set) var minorVersion = 1
  /// How the body is delimited.
  public private(set) var framing = BodyFraming.none
  /// Whether the sender wants to send another request on this connection.
  public private(set) var keepsAlive = true

  /// An empty head.
  public init() {}

  /// Prepares for the next head.
  public func reset() {
    table.reset()
    isRequestLineRead = false
    method = .other
    methodName = 0..<0
    path = 0..<0
    query = 0..<0
    authority = 0..<0
  }

  /// How many fields the head has.
  public var fieldCount: Int { table.count }

  /// Field number `index`, in the order sent.
  public subscript(_ index: Int) -> HeadField { table[index] }

  /// The value of the first field that is `known`, nil if there is none.
  public func value(of known: KnownField) -> Range<Int>? {
    let index = table.index(of: known)
    return index < 0 ? nil : table[index].value
  }

  /// Whether the sender waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1).
  public var expectsContinue: Bool { table.expectsContinue && minorVersion == 1 }

  /// What Content-Length says, nil without one. `framing` is `none` for 0, though a proxy passes the 0 on.
  public var contentLength: Int? { table.contentLengthCount > 0 ? table.contentLength : nil }

  /// Whether a Connection field names fields beyond those that are never passed on; if so, ask `connectionNames`.
  public var namesHopByHopFields: Bool { table.namesHopByHopFields }

  /// Whether a Connection field names the field called `name`, a range of `bytes`.
  public func connectionNames(_ name: Range<Int>, in bytes: Span<UInt8>) -> Bool {
    table.connectionNames(name, in: bytes)
  }

  /// Reads the head that begins with the first byte of `bytes`. After `incomplete` call it again with the same bytes
  /// and more behind them; before another head call `reset`.
  public func parse(_ bytes: Span<UInt8>) -> HeadParse {
    if !isRequestLineRead {
      if let ended = parseStart(bytes) { return ended }
    }
    while true {
      switch table.findLineEnd(bytes, limit: HTTPLimits.headBytesMax, tooLong: .headTooLarge) {
      case .missing: return .incomplete
      case .malformed(let error): return .malformed(error)
      case .found(let end, let next):
        switch table.takeLine(bytes, end: end, next: next) {
        case .field: continue
        case .malformed(let error): return .malformed(error)
        case .endOfHead:
          if let error = conclude(bytes) { return .malformed(error) }
          return .complete(bytes: next)
        }
      }
    }
  }

  /// Reads the request line; nil once it is done.
  private func parseStart(_ bytes: Span<UInt8>) -> HeadParse? {
    if table.lineStart == 0 {
      guard bytes.count > 0 else { return .incomplete }
      // One empty line before a request is forgiven: old clients send it behind a body (RFC 9112 §2.2).
      if bytes[0] == UInt8(ascii: "\r") {
        guard bytes.count > 1 else { return .incomplete }
        guard bytes[1] == UInt8(ascii: "\n") else { return .malformed(.bareCarriageReturn) }
        table.lineStart = 2
      }
    }
    guard bytes.count > table.lineStart else { return .incomplete }
    // Not HTTP at all (TLS, a binary protocol): say so without waiting for a line that may never end.
    guard ByteClass.token.contains(bytes[table.lineStart]) else { return .malformed(.invalidMethod) }
    let limit = table.lineStart + HTTPLimits.requestLineBytesMax + 2
    switch table.findLineEnd(bytes, limit: limit, tooLong: .requestLineTooLong) {
    case .missing: return .incomplete
    case .malformed(let error): return .malformed(error)
    case .found(let end, let next):
      if let error = parseRequestLine(bytes, start: table.lineStart, end: end) { return .malformed(error) }
      table.lineStart = next
      isRequestLineRead = true
      return nil
    }
  }

  /// Checks what the fields say together.
  private func conclude(_ bytes: Span<UInt8>) -> HeadError? {
    if let error = table.framingError(isOldVersion: minorVersion == 0) { return error }
    if table.hostCount > 1 { return .repeatedHost }
    if table.hostCount == 1 {
      let host = table[table.hostField].value
      guard isAuthority(bytes, host) else { return .invalidHost }
      if authority.isEmpty { authority = host }
    } else if minorVersion == 1 {
      return .missingHost
    }
    if table.hasOtherExpectation, minorVersion == 1 { return .unsupportedExpectation }
    framing = table.isChunked ? .chunked : table.contentLength > 0 ? .length(table.contentLength) : .none
    keepsAlive = !table.hasClose && (minorVersion == 1 || table.hasKeepAlive)
    return nil
  }
}
