import Postgres

/// Why there is no answer from the tables of values.
public struct DataError: Error, Sendable, CustomStringConvertible {
  /// PostgreSQL's or the library's words, for the log; never shown to clients.
  public let description: String
  /// Whether trying again may help.
  public let isTransient: Bool
  /// Whether what was ordered may have been done all the same.
  public let isUnknown: Bool

  init(_ error: PostgresError) {
    description = "\(error)"
    isTransient = error.isTransient || error.lacksMigration
    isUnknown = error.code == .connectionLost || error.code == .deadline
  }
}
