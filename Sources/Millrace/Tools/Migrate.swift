import TaskQueue
import Telemetry

/// `millrace migrate`: brings the schema up to date.
enum Migrate {
  /// Runs what is missing and says what was done.
  /// - Throws: `CommandError`: 75 if PostgreSQL cannot be reached or refuses.
  static func run(_ configuration: Configuration) throws(CommandError) -> String {
    let log = configuration.logger("migrate")
    defer { log.flush() }
    var queue = QueueConfiguration()
    queue.postgres = configuration.postgres
    let numbers = try OneTask.runWithQueue { [queue] (pool, reactor) throws(QueueError) in
      try await QueueSchema.migrate(queue, pool: pool, log: log, on: reactor)
    }
    if numbers.isEmpty { return "The schema is up to date." }
    return "Ran migrations \(numbers.map { String($0) }.joined(separator: ", "))."
  }
}
