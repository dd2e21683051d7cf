import Glibc
import Postgres
import Reactor
import TaskQueue
import Telemetry

/// `millrace migrate`: brings the schema up to date.
enum Migrate {
  /// Runs what is missing and says what was done.
  /// - Throws: `CommandError`: 75 if PostgreSQL cannot be reached or refuses.
  static func run(_ configuration: Configuration) throws(CommandError) -> String {
    let log = configuration.logger("migrate")
    var postgres = configuration.postgres
    postgres.applicationName += " migrate"
    let outcome = Outcome()
    do {
      let pool = try ComputePool(width: 1, name: "helper")
      try Reactor().runOnCallingThread { [postgres] reactor in
        Task.immediate(executorPreference: reactor.queue) {
          outcome.result = await migrate(postgres, PostgresConnection.Helpers(pool: pool), log, on: reactor)
          reactor.stop()
        }
      }
    } catch {
      throw CommandError(message: "cannot start: \(error)", exitCode: ExitCode.failure)
    }
    log.flush()
    switch outcome.result {
    case .success(let numbers) where numbers.isEmpty: return "The schema is up to date."
    case .success(let numbers): return "Ran migrations \(numbers.map(String.init).joined(separator: ", "))."
    case .failure(let error): throw CommandError(message: "\(error)", exitCode: ExitCode.unavailable)
    }
  }

  private static func migrate(
    _ postgres: PostgresConfiguration, _ helpers: PostgresConnection.Helpers, _ log: Logger,
    on reactor: isolated Reactor
  ) async -> Result<[Int32], PostgresError> {
    do throws(PostgresError) {
      let connection = try await PostgresConnection.connect(postgres, helpers: helpers, on: reactor)
      defer { connection.close(on: reactor) }
      return .success(try await Migrator(QueueSchema.migrations, log: log).run(on: connection, on: reactor))
    } catch {
      return .failure(error)
    }
  }

  private final class Outcome: @unchecked Sendable {
    // Safe because: the reactor that writes it runs on the thread that reads it afterwards.
    var result: Result<[Int32], PostgresError> = .success([])
  }
}
