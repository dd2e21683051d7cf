import HTTPSyntax

extension HTTPRequest {
  /// Refuses a body that is not JSON by name: what a page of another site can make a browser send without asking never
  /// is.
  /// - Throws: `Problem` 415.
  public func requireJSON() throws(Problem) {
    guard let field = text(of: .contentType) else { return }
    let type = field.lowercased().prefix { $0 != ";" && $0 != " " && $0 != "\t" }
    guard type == "application/json" || type.hasSuffix("+json") else {
      throw Problem(415, "The body must be JSON: Content-Type: application/json.")
    }
  }

  /// What `read` makes of the query parameter called `name`, nil if there is none.
  /// - Parameter takes: what it can be, for whoever has sent something else.
  /// - Throws: `Problem` 400 if `read` makes nothing of it, or there are two.
  public func query<T>(_ name: StaticString, takes: String, _ read: (String) -> T?) throws(Problem) -> T? {
    guard let text = try query(name) else { return nil }
    if let value = read(text) { return value }
    throw Problem(
      400, "The query parameter \(name) takes \(takes).",
      errors: [Problem.FieldError("\(name)", "does not take this value")])
  }

  /// What the client calls this request, so that it may send it again; nil if it has no name. As it stands, or within
  /// quotes as a structured field would have it (RFC 8941 §3.3.3).
  /// - Throws: `Problem` 400 for one that is too long or holds other characters, or if there are two.
  public func idempotencyKey() throws(Problem) -> [UInt8]? {
    guard let field = try onlyValue(of: .idempotencyKey) else { return nil }
    let quote = UInt8(ascii: "\"")
    let isQuoted = field.count >= 2 && field.first == quote && field.last == quote
    let name = isQuoted ? field.dropFirst().dropLast() : field
    guard 1...HTTPLimits.idempotencyKeyBytesMax ~= name.count,
      name.allSatisfy({ 0x21...0x7E ~= $0 && $0 != quote })
    else {
      throw Problem(
        400, "An Idempotency-Key has 1 to \(HTTPLimits.idempotencyKeyBytesMax) visible ASCII characters.",
        errors: [Problem.FieldError("Idempotency-Key", "is empty, too long, or holds other characters")])
    }
    return Array(name)
  }
}
