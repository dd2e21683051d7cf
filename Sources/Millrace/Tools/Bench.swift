import Glibc
import LoadTest
import Postgres
import Reactor
import TaskQueue
import Telemetry

/// `millrace bench`: what the queue alone can do, in a database that it makes and drops, or in one that was named and
/// holds nothing else.
enum Bench {
  /// Runs all measurements and prints each as soon as it is known.
  /// - Throws: `CommandError`: 75 if PostgreSQL cannot be reached or refuses, 78 if the database that was named is not
  ///   for measurements.
  static func run(_ configuration: Configuration) throws(CommandError) {
    var options = QueueBenchmark.Options()
    options.tasks = configuration.integer(.benchTasks)
    options.connections = configuration.integer(.benchConnections)
    var queue = QueueConfiguration()
    queue.postgres = configuration.postgres
    // One more than the measurements need: that from which the database is made and dropped.
    queue.postgres.limiter = ConnectionLimiter(max: QueueBenchmark.connections(options) + 1)
    let log = configuration.logger("bench")
    let isNamed = configuration.source(of: .databaseName) != .byDefault
    let result = try OneTask.run { [options, queue] (pool, reactor) async throws(Failure) in
      let interruption = Interruption()
      let watcher = try watch(interruption, on: reactor)
      defer { watcher.close(on: reactor) }
      let database: BenchmarkDatabase
      do throws(BenchmarkDatabase.Failure) {
        database =
          isNamed
          ? try await BenchmarkDatabase.take(queue, pool: pool, log: log, on: reactor)
          : try await BenchmarkDatabase.make(on: queue, pool: pool, log: log, on: reactor)
      } catch {
        throw .database(error)
      }
      if !isNamed { say("in a database of its own, \(database.name), which is dropped in the end\n") }
      let outcome: Result<Void, BenchmarkDatabase.Failure>
      do throws(BenchmarkDatabase.Failure) {
        let benchmark = QueueBenchmark(database, pool: pool, options: options, log: log)
        interruption.whenItComes = { benchmark.stop() }
        if interruption.signal != nil { benchmark.stop() }
        try await benchmark.run(
          report: { name, figure in say(Help.pad(name, 60) + text(figure) + "\n") }, on: reactor)
        outcome = .success(())
      } catch {
        outcome = .failure(error)
      }
      do throws(BenchmarkDatabase.Failure) {
        try await database.remove(pool: pool, log: log, on: reactor)
        if interruption.signal == nil { try outcome.get() }
      } catch {
        throw .database(error)
      }
      if let signal = interruption.signal { throw .interrupted(by: signal) }
    }
    switch result {
    case .success: return
    case .failure(.database(.refused(let reason))): throw .configuration(reason)
    case .failure(.database(.queue(let error))): throw OneTask.unavailable(error)
    case .failure(.database(.stopped)): throw CommandError(message: "stopped", exitCode: ExitCode.failure)
    case .failure(.interrupted(let signal)):
      throw CommandError(message: "stopped", exitCode: Interruption.exitCode(of: signal))
    case .failure(.system(let error)):
      throw CommandError(message: "cannot start: \(error)", exitCode: ExitCode.failure)
    }
  }

  /// Why there are no figures.
  private enum Failure: Error {
    case database(BenchmarkDatabase.Failure)
    case interrupted(by: CInt)
    case system(SystemError)
  }

  private static func watch(
    _ interruption: Interruption, on reactor: isolated Reactor
  ) throws(Failure) -> SignalWatcher {
    do {
      return try SignalWatcher(Interruption.signals, receiver: interruption, on: reactor)
    } catch {
      throw .system(error)
    }
  }

  private static func text(_ figure: QueueBenchmark.Figure) -> String {
    switch figure {
    case .perSecond(let rate): return "\(Int(rate)) a second"
    case .milliseconds(let p50, let p99):
      return "p50 \((p50 * 100).rounded() / 100) ms, p99 \((p99 * 100).rounded() / 100) ms"
    }
  }

  private static func say(_ text: String) { Output.write(text) }
}
