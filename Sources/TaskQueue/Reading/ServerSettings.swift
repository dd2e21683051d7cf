import Postgres
public import Reactor
public import Telemetry

/// Settings of the PostgreSQL server on which a queue's promises and its speed depend.
public struct ServerSettings: Sendable {
  /// The version, as `15.14`.
  public let version: String
  private let values: [String: String]

  /// Settings by name, in the units of `pg_settings`.
  public init(version: String, _ values: [String: String]) {
    self.version = version
    self.values = values
  }

  /// The value of the setting called `name`, nil if the server does not have it.
  public subscript(_ name: String) -> String? { values[name] }

  /// Asks the server, over a connection of its own.
  /// - Throws: `QueueError`.
  public static func read(
    _ configuration: QueueConfiguration, pool: ComputePool, log: Logger, on reactor: isolated Reactor
  ) async throws(QueueError) -> ServerSettings {
    try await asQueue { () throws(PostgresError) in
      let connection = try await PostgresConnection.connectPatiently(
        configuration.postgres, helpers: PostgresConnection.Helpers(pool: pool), log: log, on: reactor)
      defer { connection.close(on: reactor) }
      let result = try await connection.execute(statement, on: reactor)
      let rows = (0..<result.rowCount).map { (result.text($0, 0) ?? "", result.text($0, 1) ?? "") }
      let values = Dictionary(rows, uniquingKeysWith: { first, _ in first })
      return ServerSettings(version: values["server_version"] ?? "", values)
    }
  }

  private static let statement = PostgresStatement(
    "server_settings",
    """
    select name, setting from pg_settings where name in ('server_version', 'fsync', 'synchronous_commit',
      'full_page_writes', 'autovacuum', 'min_wal_size', 'wal_init_zero')
    """)
}
