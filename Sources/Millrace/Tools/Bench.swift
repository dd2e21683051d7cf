import Glibc
import LoadTest
import Postgres
import TaskQueue
import Telemetry

/// `millrace bench`: what the queue alone can do.
enum Bench {
  /// Runs all measurements and prints each as soon as it is known.
  /// - Throws: `CommandError`: 75 if PostgreSQL cannot be reached or refuses.
  static func run(_ configuration: Configuration) throws(CommandError) {
    var options = QueueBenchmark.Options()
    options.tasks = configuration.integer(.benchTasks)
    options.connections = configuration.integer(.benchConnections)
    var queue = QueueConfiguration()
    queue.postgres = configuration.postgres
    queue.postgres.limiter = ConnectionLimiter(max: QueueBenchmark.connections(options))
    let log = configuration.logger("bench")
    try OneTask.runWithQueue { [options, queue] (pool, reactor) throws(QueueError) in
      let benchmark = QueueBenchmark(queue, pool: pool, options: options, log: log)
      try await benchmark.run(
        report: { name, perSecond in
          CommandLineTool.write(Help.pad(name, 60) + "\(Int(perSecond)) a second\n", to: STDOUT_FILENO)
        }, on: reactor)
    }
  }
}
