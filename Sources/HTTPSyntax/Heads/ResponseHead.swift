/// The head of one response, parsed in place like `RequestHead`. The client and the balancer read their upstreams with
/// it; an upstream that is ambiguous is a bad upstream.
public final class ResponseHead {
  var table = FieldTable()
  private var isStatusLineRead = false

  /// The status code, 100 to 599 (RFC 9110 §15: anything else is invalid).
  public private(set) var status = 0
  /// The reason phrase, which may be empty.
  public private(set) var reason = 0..<0
  /// The minor version: 0 or 1.
  public private(set) var minorVersion = 1
  /// How the body is delimited.
  public private(set) var framing = BodyFraming.none
  /// Whether another request may be sent on this connection afterwards.
  public private(set) var keepsAlive = true

  /// An empty head.
  public init() {}

  /// Prepares for the next head.
  public func reset() {
    table.reset()
    isStatusLineRead = false
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

  /// Whether another response to the same request follows: 100 to 199 but 101.
  public var isInterim: Bool { status < 200 && status != 101 }

  /// What Content-Length says, nil without one. After HEAD and in a 304 it is not the length of this message's body.
  public var contentLength: Int? { table.contentLengthCount > 0 ? table.contentLength : nil }

  /// Whether a Connection field names fields beyond those that are never passed on; if so, ask `connectionNames`.
  public var namesHopByHopFields: Bool { table.namesHopByHopFields }

  /// Whether a Connection field names the field called `name`, a range of `bytes`.
  public func connectionNames(_ name: Range<Int>, in bytes: Span<UInt8>) -> Bool {
    table.connectionNames(name, in: bytes)
  }

  /// Reads the head that begins with the first byte of `bytes` and answers a request made with `method`. After
  /// `incomplete` call it again with the same bytes and more behind them; before another head call `reset`.
  public func parse(_ bytes: Span<UInt8>, answering method: HTTPMethod) -> HeadParse {
    while true {
      switch table.findLineEnd(bytes, limit: HTTPLimits.headBytesMax, tooLong: .headTooLarge) {
      case .missing: return .incomplete
      case .malformed(let error): return .malformed(error)
      case .found(let end, let next):
        if !isStatusLineRead {
          if let error = parseStatusLine(bytes, end: end) { return .malformed(error) }
          table.lineStart = next
          isStatusLineRead = true
          continue
        }
        switch table.takeLine(bytes, end: end, next: next) {
        case .field: continue
        case .malformed(let error): return .malformed(error)
        case .endOfHead:
          if let error = conclude(method) { return .malformed(error) }
          return .complete(bytes: next)
        }
      }
    }
  }

  /// Reads `HTTP/1.1 SP status SP reason`; the last space is missing from some servers' lines without a reason.
  private func parseStatusLine(_ bytes: Span<UInt8>, end: Int) -> HeadError? {
    guard end >= 12, bytes[8] == UInt8(ascii: " "), let version = httpVersion(bytes, 0, 8),
      let status = decimal(bytes, 9, 12), end == 12 || bytes[12] == UInt8(ascii: " ")
    else { return .invalidStartLine }
    guard version.major == 1, version.minor <= 1 else { return .unsupportedVersion }
    guard 100...599 ~= status else { return .invalidStartLine }
    let start = min(13, end)
    for index in start..<end where bytes[index] < 0x20 && bytes[index] != 0x09 || bytes[index] == 0x7F {
      return bytes[index] == UInt8(ascii: "\r") ? .bareCarriageReturn : .invalidStartLine
    }
    minorVersion = version.minor
    self.status = status
    reason = start..<end
    return nil
  }

  private func conclude(_ method: HTTPMethod) -> HeadError? {
    if let error = table.framingError(isOldVersion: minorVersion == 0) { return error }
    if method == .head || status < 200 || status == 204 || status == 304 {
      framing = .none
    } else if table.isChunked {
      framing = .chunked
    } else if table.contentLengthCount == 1 {
      framing = table.contentLength > 0 ? .length(table.contentLength) : .none
    } else {
      framing = .untilClose
    }
    keepsAlive = framing != .untilClose && !table.hasClose && (minorVersion == 1 || table.hasKeepAlive)
    return nil
  }
}
