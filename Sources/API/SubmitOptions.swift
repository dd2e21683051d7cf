import Basics
import HTTP
import HTTPSyntax
import TaskQueue

/// What a client wants of a task beside having it run: query parameters of every submission, and a name of its own.
struct SubmitOptions {
  /// `priority=high|normal|low`
  let priority: Priority
  /// `run_at=2026-01-31T12:00:00Z`, RFC 3339: not before that.
  let runAt: Timestamp?
  /// `max_attempts=3`: how often it is tried until it counts as failed; nil for what is usual for its kind.
  let attemptsMax: Int16?
  /// `Idempotency-Key`: what the client calls this request, so that it may send it again. It stands for one task for a
  /// day at least.
  let idempotencyKey: [UInt8]?

  /// None.
  init() {
    (priority, runAt, attemptsMax, idempotencyKey) = (.normal, nil, nil, nil)
  }

  /// Those that `request` bears.
  /// - Throws: `Problem` 400.
  init(_ request: HTTPRequest) throws(Problem) {
    priority =
      try SubmitOptions.parameter("priority", request, "one of: high, normal, low") { text in
        Priority.allCases.first { $0.name == text }
      } ?? .normal
    let latest = Timestamp.current().microseconds + Int64(Limits.runAtAheadMax.nanoseconds / 1000)
    runAt = try SubmitOptions.parameter("run_at", request, "a time within a year, as 2026-01-31T12:00:00Z") { text in
      Timestamp(rfc3339: text.utf8).flatMap { $0.microseconds <= latest ? $0 : nil }
    }
    attemptsMax = try SubmitOptions.parameter("max_attempts", request, "1 to \(Limits.attemptsMax)") { text in
      Int16(text).flatMap { 1...Limits.attemptsMax ~= $0 ? $0 : nil }
    }
    idempotencyKey = try SubmitOptions.idempotencyKey(of: request)
  }

  private static func parameter<T>(
    _ name: StaticString, _ request: HTTPRequest, _ takes: String, _ read: (String) -> T?
  ) throws(Problem) -> T? {
    guard let text = try request.query(name) else { return nil }
    if let value = read(text) { return value }
    throw Problem(
      400, "The query parameter \(name) takes \(takes).",
      errors: [Problem.FieldError("\(name)", "does not take this value")])
  }

  /// As it stands, or within quotes as a structured field would have it (RFC 8941 §3.3.3).
  private static func idempotencyKey(of request: HTTPRequest) throws(Problem) -> [UInt8]? {
    guard let field = try request.onlyValue(of: .idempotencyKey) else { return nil }
    let quote = UInt8(ascii: "\"")
    let isQuoted = field.count >= 2 && field.first == quote && field.last == quote
    let name = isQuoted ? field.dropFirst().dropLast() : field
    guard 1...Limits.idempotencyKeyBytesMax ~= name.count, name.allSatisfy({ 0x21...0x7E ~= $0 && $0 != quote }) else {
      throw Problem(
        400, "An Idempotency-Key has 1 to \(Limits.idempotencyKeyBytesMax) visible ASCII characters.",
        errors: [Problem.FieldError("Idempotency-Key", "is empty, too long, or holds other characters")])
    }
    return Array(name)
  }
}
