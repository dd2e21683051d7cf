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
      try request.query("priority", takes: "one of: high, normal, low") { text in
        Priority.allCases.first { $0.name == text }
      } ?? .normal
    let latest = Timestamp.current().microseconds + Int64(Limits.runAtAheadMax.nanoseconds / 1000)
    runAt = try request.query("run_at", takes: "a time within a year, as 2026-01-31T12:00:00Z") { text in
      Timestamp(rfc3339: text.utf8).flatMap { $0.microseconds <= latest ? $0 : nil }
    }
    attemptsMax = try request.query("max_attempts", takes: "1 to \(Limits.attemptsMax)") { text in
      Int16(text).flatMap { 1...Limits.attemptsMax ~= $0 ? $0 : nil }
    }
    idempotencyKey = try request.idempotencyKey()
  }
}
