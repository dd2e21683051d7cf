import DataItems
import TaskQueue
import Telemetry
import VersionedStore

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
    let data = try OneTask.run { [queue] (pool, reactor) async throws(DataError) -> [Int32] in
      try await DataSchema.migrate(queue.postgres, pool: pool, log: log, on: reactor)
    }
    let dataNumbers: [Int32]
    do { dataNumbers = try data.get() } catch {
      throw CommandError(message: "PostgreSQL: \(error)", exitCode: ExitCode.unavailable)
    }
    let store = try OneTask.run { [queue] (pool, reactor) async throws(StoreError) -> [Int32] in
      try await StoreSchema.migrate(queue.postgres, pool: pool, log: log, on: reactor)
    }
    let storeNumbers: [Int32]
    do throws(StoreError) { storeNumbers = try store.get() } catch {
      throw CommandError(message: error.description, exitCode: ExitCode.unavailable)
    }
    let done =
      numbers.map { "\($0) of the queue" } + dataNumbers.map { "\($0) of the data items" }
      + storeNumbers.map { "\($0) of the store of keys" }
    if done.isEmpty { return "The schema is up to date." }
    return "Ran migrations \(done.joined(separator: ", "))."
  }
}
