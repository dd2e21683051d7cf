import Glibc
import Postgres
import Reactor

/// Runs one piece of work with PostgreSQL on a reactor of the calling thread, for tools that do a thing and end.
enum DatabaseTask {
  /// Runs `body` to its end.
  /// - Throws: `CommandError`: 75 if PostgreSQL cannot be reached or refuses.
  static func run<R: Sendable>(
    _ body: @escaping @Sendable (PostgresConnection.Helpers, isolated Reactor) async throws(PostgresError) -> R
  ) throws(CommandError) -> R {
    let outcome = Outcome<R>()
    do {
      let pool = try ComputePool(width: 1, name: "helper")
      try Reactor().runOnCallingThread { reactor in
        Task.immediate(executorPreference: reactor.queue) {
          do throws(PostgresError) {
            outcome.result = .success(try await body(PostgresConnection.Helpers(pool: pool), reactor))
          } catch {
            outcome.result = .failure(error)
          }
          reactor.stop()
        }
      }
    } catch {
      throw CommandError(message: "cannot start: \(error)", exitCode: ExitCode.failure)
    }
    switch outcome.result {
    case .success(let value): return value
    case .failure(let error): throw CommandError(message: "PostgreSQL: \(error)", exitCode: ExitCode.unavailable)
    case nil: preconditionFailure("the reactor ended before its work")
    }
  }

  private final class Outcome<R>: @unchecked Sendable {
    // Safe because: the reactor that writes it runs on the thread that reads it afterwards.
    var result: Result<R, PostgresError>?
  }
}
