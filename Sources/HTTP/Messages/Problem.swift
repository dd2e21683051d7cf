public import Basics

/// An error as clients see it: RFC 9457 `application/problem+json` with the request's id, by which the log finds it.
public struct Problem: Error, Sendable {
  /// What is wrong with one field of the request.
  public struct FieldError: Sendable {
    /// The field's name.
    public let field: String
    /// What is wrong with it.
    public let detail: String

    /// The mistake `detail` in `field`.
    public init(_ field: String, _ detail: String) {
      self.field = field
      self.detail = detail
    }
  }

  /// The status code, 400 to 599.
  public var status: Int
  /// What happened this time, for the client; it tells nothing of the inside.
  public var detail: String
  /// What is wrong with which field.
  public var errors: [FieldError]
  /// Further fields of the answer, such as `WWW-Authenticate`.
  public var fields: [(name: StaticString, value: StaticString)] = []
  /// Further members of the body (RFC 9457 §3.2), each with its value as JSON.
  public var members: [(name: StaticString, json: [UInt8])] = []
  /// Seconds after which the client may try again; sent as `Retry-After`.
  public var retryAfterSeconds: Int?
  /// What only the log is told, beside what the client is.
  public var secretReason: String?

  /// A problem with `status`.
  public init(_ status: Int, _ detail: String, errors: [FieldError] = [], retryAfterSeconds: Int? = nil) {
    self.status = status
    self.detail = detail
    self.errors = errors
    self.retryAfterSeconds = retryAfterSeconds
  }

  /// The problem of a body that is no JSON (400) or has the wrong shape (422).
  public init(_ error: JSONError) {
    switch error.kind {
    case .notJSON:
      self.init(400, "The body is not JSON: \(error.reason) (at byte \(error.offset)).")
    case .wrongShape:
      let field = error.field.description
      self.init(
        422, "The body does not have the expected shape.", errors: [FieldError(field, error.reason.description)])
    }
  }

  /// The body; `requestID` may hold only what stands in a JSON string as it is.
  public func json(requestID: [UInt8]) -> [UInt8] {
    var json = JSONWriter()
    json.object { json in
      json.field("type", "about:blank")
      json.field("title", HTTPStatus.reason(status).description)
      json.field("status", status)
      json.field("detail", detail)
      json.field("request_id", requestID)
      for member in members {
        json.key(member.name)
        json.raw(member.json)
      }
      guard !errors.isEmpty else { return }
      json.key("errors")
      json.array { json in
        for error in errors {
          json.object {
            $0.field("field", error.field)
            $0.field("detail", error.detail)
          }
        }
      }
    }
    return json.bytes
  }

  /// The response to the request called `requestID`.
  public func response(requestID: [UInt8]) -> HTTPResponse {
    var response = HTTPResponse(status, "application/problem+json", json(requestID: requestID))
    let reasons = [detail] + errors.map { "\($0.field): \($0.detail)" } + (secretReason.map { ["(\($0))"] } ?? [])
    response.reason = reasons.joined(separator: " ")
    for field in fields { response.set(field.name, field.value) }
    if let retryAfterSeconds { response.set("Retry-After", String(retryAfterSeconds)) }
    return response
  }
}
