/// What a handler answers: a status, fields, and a body that is either at hand or written bit by bit.
///
/// The server adds `Date`, framing, `Connection` and `X-Request-Id`; a handler must not set them.
public struct HTTPResponse {
  /// Where the body comes from.
  public enum Body {
    /// The whole body.
    case bytes([UInt8])
    /// Something that writes it bit by bit; the server frames it in chunks.
    case stream(any HTTPBodySource)
  }

  /// The status code, 200 to 599.
  public var status: Int
  /// The body; nothing of it is sent after HEAD, with 204 and with 304.
  public var body: Body
  /// The fields, ready to be sent.
  public private(set) var fields: [UInt8] = []
  /// For the log: why the client gets an error, nil for anything else.
  public internal(set) var reason: String?

  /// A response without a body.
  public init(_ status: Int) {
    self.status = status
    body = .bytes([])
  }

  /// A response with a body of the media type `type`.
  public init(_ status: Int, _ type: StaticString, _ bytes: [UInt8]) {
    self.status = status
    body = .bytes(bytes)
    set("Content-Type", type)
  }

  /// A response whose body `source` produces while the client reads it.
  public init(_ status: Int, _ type: StaticString, streaming source: any HTTPBodySource) {
    self.status = status
    body = .stream(source)
    set("Content-Type", type)
  }

  /// A response whose fields stand ready, as `fields` of another one gives them.
  public init(_ status: Int, fields: [UInt8], body: [UInt8]) {
    self.status = status
    self.fields = fields
    self.body = .bytes(body)
  }

  /// A response with a JSON body.
  public static func json(_ status: Int, _ bytes: [UInt8]) -> HTTPResponse {
    HTTPResponse(status, "application/json", bytes)
  }

  /// A response with a text body.
  public static func text(_ status: Int, _ text: String) -> HTTPResponse {
    HTTPResponse(status, "text/plain; charset=utf-8", Array(text.utf8))
  }

  /// Adds a field.
  public mutating func set(_ name: StaticString, _ value: StaticString) {
    fields.append(name)
    fields.append(": ")
    fields.append(value)
    fields.append("\r\n")
  }

  /// Adds a field; whatever in `value` could end the field or the head becomes a space, so that what a client sent can
  /// never become a field of its own.
  public mutating func set(_ name: StaticString, _ value: some Sequence<UInt8>) {
    fields.append(name)
    fields.append(": ")
    for byte in value { fields.append(byte < 0x20 || byte == 0x7F ? 0x20 : byte) }
    fields.append("\r\n")
  }

  /// Adds a field; see `set(_:_:)` for bytes.
  public mutating func set(_ name: StaticString, _ value: String) {
    set(name, value.utf8)
  }

  /// Appends the head as it is sent: status line, `date` (a whole line), the response's own fields, and what the server
  /// answers for: request id, framing and connection.
  public func appendHead(
    to bytes: inout [UInt8], date: [UInt8], requestID: [UInt8], keepsAlive: Bool, minorVersion: Int
  ) {
    bytes.append("HTTP/1.1 ")
    bytes.append(decimal: status)
    bytes.append(" ")
    bytes.append(HTTPStatus.reason(status))
    bytes.append("\r\n")
    bytes += date
    bytes += fields
    bytes.append("X-Request-Id: ")
    bytes += requestID
    bytes.append("\r\n")
    switch body {
    case .bytes(let body):
      if status != 204 && status != 304 {
        bytes.append("Content-Length: ")
        bytes.append(decimal: body.count)
        bytes.append("\r\n")
      }
    case .stream:
      if minorVersion > 0 { bytes.append("Transfer-Encoding: chunked\r\n") }
    }
    if !keepsAlive {
      bytes.append("Connection: close\r\n")
    } else if minorVersion == 0 {
      bytes.append("Connection: keep-alive\r\n")
    }
    bytes.append("\r\n")
  }
}
