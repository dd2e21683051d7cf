public import Postgres

/// How to reach the queue.
public struct QueueConfiguration: Sendable {
  /// The database.
  public var postgres = PostgresConfiguration()
  /// Connections for statements, at least one; a worker needs one more.
  public var width = 2

  /// A queue in the database on this machine.
  public init() {}
}
