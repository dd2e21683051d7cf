import Postgres
import TaskQueue
import Telemetry

/// `millrace migrate`: brings the schema up to date.
enum Migrate {
  /// Runs what is missing and says what was done.
  /// - Throws: `CommandError`: 75 if PostgreSQL cannot be reached or refuses.
  static func run(_ configuration: Configuration) throws(CommandError) -> String {
    let log = configuration.logger("migrate")
    defer { log.flush() }
    let postgres = configuration.postgres
    let numbers = try OneTask.runWithDatabase { (helpers, reactor) throws(PostgresError) in
      let connection = try await PostgresConnection.connectPatiently(
        postgres, helpers: helpers, log: log, on: reactor)
      defer { connection.close(on: reactor) }
      return try await Migrator(QueueSchema.migrations, log: log).run(on: connection, on: reactor)
    }
    if numbers.isEmpty { return "The schema is up to date." }
    return "Ran migrations \(numbers.map { String($0) }.joined(separator: ", "))."
  }
}
