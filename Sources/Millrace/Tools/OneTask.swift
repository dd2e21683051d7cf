import Glibc
import Reactor
import TaskQueue

/// Runs one piece of work on a reactor of the calling thread, for commands that do a thing and end, or that have not
/// begun to serve.
enum OneTask {
  /// Runs `body` to its end, with a thread for what blocks.
  /// - Throws: `CommandError`: 1 if the process lacks descriptors or threads.
  static func run<R: Sendable, E: Error>(
    _ body: @escaping @Sendable (ComputePool, isolated Reactor) async throws(E) -> R
  ) throws(CommandError) -> Result<R, E> {
    let outcome = Outcome<R, E>()
    do {
      let pool = try ComputePool(width: 1, name: "helper")
      try Reactor().runOnCallingThread { reactor in
        Task.immediate(executorPreference: reactor.queue) {
          do throws(E) {
            outcome.result = .success(try await body(pool, reactor))
          } catch {
            outcome.result = .failure(error)
          }
          reactor.stop()
        }
      }
    } catch {
      throw CommandError(message: "cannot start: \(error)", exitCode: ExitCode.failure)
    }
    guard let result = outcome.result else { preconditionFailure("the reactor ended before its work") }
    return result
  }

  /// Runs `body`, which needs PostgreSQL, to its end.
  /// - Throws: `CommandError`: 75 if PostgreSQL cannot be reached or refuses.
  static func runWithQueue<R: Sendable>(
    _ body: @escaping @Sendable (ComputePool, isolated Reactor) async throws(QueueError) -> R
  ) throws(CommandError) -> R {
    let result = try run(body)
    do {
      return try result.get()
    } catch {
      throw unavailable(error)
    }
  }

  /// What a command ends with that cannot do without PostgreSQL.
  static func unavailable(_ error: QueueError) -> CommandError {
    CommandError(message: "PostgreSQL: \(error)", exitCode: ExitCode.unavailable)
  }

  private final class Outcome<R, E: Error>: @unchecked Sendable {
    // Safe because: the reactor that writes it runs on the thread that reads it afterwards.
    var result: Result<R, E>?
  }
}
