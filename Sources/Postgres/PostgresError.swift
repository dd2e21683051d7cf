/// Why a request to PostgreSQL has no result.
public struct PostgresError: Error, Sendable, CustomStringConvertible {
  /// What happened, as far as a caller can act on it.
  public enum Code: Sendable, Equatable {
    /// No connection could be had in the time a caller may wait.
    case unavailable
    /// The connection broke while the request was under way: it may or may not have been carried out.
    case connectionLost
    /// The request took longer than its deadline and was cancelled.
    case deadline
    /// The server refused or failed the statement, with its five-character SQLSTATE.
    case server(sqlstate: String)
    /// The tables are not those that the program works on: older, or of a newer program that has left it behind.
    case unfitSchema(isNewer: Bool)
    /// More requests than `Limits.requestsPerConnection` are waiting.
    case overloaded
  }

  /// What happened.
  public let code: Code
  /// libpq's or the server's words, for the log; never shown to clients.
  public let message: String

  /// An error with the server's or libpq's words.
  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message.split(whereSeparator: \.isNewline).map { $0.drop { $0 == "\t" } }.joined(separator: "; ")
  }

  /// Whether the same request may succeed later although nothing is wrong with it: the database is away, shutting down
  /// (class 57), out of resources (53), its disk fails (58030), it chose this transaction to end a conflict (40), is a
  /// primary no more (25006), or lacks a statement that a failed request was to prepare (26000).
  public var isTransient: Bool {
    switch code {
    case .unavailable, .connectionLost, .deadline, .unfitSchema, .overloaded: true
    case .server(let state):
      ["57", "53", "40"].contains { state.hasPrefix($0) } || ["25006", "26000", "58030"].contains(state)
    }
  }

  /// Whether the server lacks room to write (53100), or its disk fails (58030).
  public var isOfDisk: Bool {
    guard case .server(let state) = code else { return false }
    return state == "53100" || state == "58030"
  }

  /// Whether another transaction was in the way: a deadlock (40P01), one that cannot be put in order (40001), or a lock
  /// that was not to be had in time (55P03).
  var isConflict: Bool {
    guard case .server(let state) = code else { return false }
    return ["40P01", "40001", "55P03"].contains(state)
  }

  /// Whether the tables are not those that the program knows: 42P01, 42703, 42883 (no such table, column, function)
  /// and 3F000 (no such schema). Its migrations have not been run.
  public var lacksMigration: Bool {
    guard case .server(let state) = code else { return false }
    return ["42P01", "42703", "42883", "3F000"].contains(state)
  }

  /// Whether the tables do not fit the program.
  public var isOfSchema: Bool {
    if case .unfitSchema = code { true } else { false }
  }

  /// The code and the words.
  public var description: String { "\(code): \(message)" }
}
