import Postgres
public import Reactor
public import Telemetry

extension QueueSchema {
  /// Brings the tables up to date, whoever else does so at the same time, and returns the numbers of the steps that
  /// were run.
  /// - Throws: `QueueError`; the tables are then at the last step that was committed.
  public static func migrate(
    _ configuration: QueueConfiguration, pool: ComputePool, log: Logger, on reactor: isolated Reactor
  ) async throws(QueueError) -> [Int32] {
    do {
      let connection = try await PostgresConnection.connectPatiently(
        configuration.postgres, helpers: PostgresConnection.Helpers(pool: pool), log: log, on: reactor)
      defer { connection.close(on: reactor) }
      return try await Migrator(migrations, log: log).run(on: connection, on: reactor)
    } catch {
      throw QueueError(error)
    }
  }
}
