public import Postgres

/// Why the queue has no answer.
public struct QueueError: Error, Sendable, CustomStringConvertible {
  /// What happened, as far as a caller can act on it.
  public enum Code: Sendable, Equatable {
    /// PostgreSQL is away or busy: try again.
    case unavailable
    /// It is not known whether the statement took effect; trying again does no harm.
    case unknown
    /// The tables are not those that this program knows: its migrations have not been run.
    case lacksSchema
    /// The tables are those of a program so much newer that this one must not touch them.
    case outgrown
    /// PostgreSQL refused a statement, for a reason that trying again does not change.
    case refused
  }

  /// What happened.
  public let code: Code
  /// PostgreSQL's or the library's words, for the log; never shown to clients.
  public let message: String
  /// Whether PostgreSQL itself has said so: it can be reached.
  public let isAnswer: Bool

  init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
    isAnswer = false
  }

  /// What a failure of PostgreSQL's means to a user of the queue.
  public init(_ error: PostgresError) {
    code =
      switch error.code {
      case .connectionLost, .deadline: .unknown
      case .unavailable, .overloaded: .unavailable
      case .unfitSchema(let isNewer): isNewer ? .outgrown : .lacksSchema
      case .server: error.lacksMigration ? .lacksSchema : error.isTransient ? .unavailable : .refused
      }
    message = error.description
    if case .server = error.code { isAnswer = true } else { isAnswer = false }
  }

  /// Whether trying again may help: also with tables that do not fit, for which the program waits.
  public var isTransient: Bool { code != .refused }

  /// What there is to be waited for, in two words, for `/readyz`.
  public var waitsFor: String {
    switch code {
    case .lacksSchema: "the schema"
    case .outgrown: "a newer program"
    default: "PostgreSQL"
    }
  }

  /// PostgreSQL's words.
  public var description: String { message }
}

/// Runs `body` and names its failure after the queue.
func asQueue<R>(
  isolation: isolated (any Actor)? = #isolation, _ body: () async throws(PostgresError) -> R
) async throws(QueueError) -> R {
  do { return try await body() } catch { throw QueueError(error) }
}
