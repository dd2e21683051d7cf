public import HTTPSyntax

/// A request to be sent by `HTTPClient`.
public struct HTTPClientRequest: Sendable {
  /// The method; not `other`.
  public var method: HTTPMethod
  /// The target in origin-form, already escaped.
  public var target: String
  /// The value of `Host`.
  public var host: String
  /// Further fields.
  public var fields: [(name: String, value: String)]
  /// The body; `Content-Length` is sent if there is one, and with POST, PUT and PATCH.
  public var body: [UInt8]

  /// A request for `target`.
  public init(
    _ method: HTTPMethod, _ target: String, host: String = "localhost", fields: [(name: String, value: String)] = [],
    body: [UInt8] = []
  ) {
    self.method = method
    self.target = target
    self.host = host
    self.fields = fields
    self.body = body
  }

  /// The request as it is sent.
  func serialised() -> [UInt8] {
    var bytes = Array("\(method.name) \(target) HTTP/1.1\r\nHost: \(host)\r\n".utf8)
    for field in fields { bytes += "\(field.name): \(field.value)\r\n".utf8 }
    let expectsBody = method == .post || method == .put || method == .patch
    if !body.isEmpty || expectsBody { bytes += "Content-Length: \(body.count)\r\n".utf8 }
    bytes += [0x0D, 0x0A]
    return bytes + body
  }
}
