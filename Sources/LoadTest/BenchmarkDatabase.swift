import Basics
import Postgres
public import Reactor
public import TaskQueue
public import Telemetry

/// A database that a measurement may fill, claim from and complete in: one that it has made itself, or one that is
/// empty or was marked by an earlier measurement. In any other there may be tasks that somebody waits for, and a
/// measurement would complete them with results that it has made up.
public struct BenchmarkDatabase {
  /// Why there is none.
  public enum Failure: Error, Sendable {
    /// The database that was named is not for measurements; one sentence for a person.
    case refused(String)
    /// PostgreSQL cannot be reached or refuses.
    case queue(QueueError)
    /// Somebody has ended the measurement.
    case stopped
  }

  /// What the comment on the schema says in a database of measurements.
  static let marker = "millrace bench: everything in here may be lost"
  /// The beginning of the names of databases that measurements make.
  private static let namePrefix = "millrace_bench_"

  /// The queue in it.
  public let queue: QueueConfiguration
  /// Its name.
  public var name: String { queue.postgres.database }
  /// The database from which it was made and is dropped, nil if it was there before.
  private let home: PostgresConfiguration?

  /// Makes a new database on the server that `queue` names, from within one of its own, `postgres`.
  /// - Throws: `Failure`.
  public static func make(
    on queue: QueueConfiguration, pool: ComputePool, log: Logger, on reactor: isolated Reactor
  ) async throws(Failure) -> BenchmarkDatabase {
    var home = queue.postgres
    home.database = "postgres"
    var made = queue
    var random = SeededRandom.fromSystem()
    made.postgres.database = namePrefix + String(random.next(), radix: 16)
    try await run("create database \(made.postgres.database)", in: home, pool: pool, log: log, on: reactor)
    return BenchmarkDatabase(queue: made, home: home)
  }

  /// Takes the database that `queue` names, if it is one for measurements.
  /// - Throws: `Failure`.
  public static func take(
    _ queue: QueueConfiguration, pool: ComputePool, log: Logger, on reactor: isolated Reactor
  ) async throws(Failure) -> BenchmarkDatabase {
    let asked = """
      select to_regnamespace('millrace') is not null,
        coalesce(obj_description(to_regnamespace('millrace')::oid, 'pg_namespace') = '\(marker)', false),
        exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where n.nspname !~ '^pg_' and n.nspname <> 'information_schema')
      """
    let found = try await run(asked, in: queue.postgres, pool: pool, log: log, on: reactor)
    let (holdsQueue, isMarked, holdsAnything) = (found.bool(0, 0), found.bool(0, 1), found.bool(0, 2))
    guard isMarked || !holdsQueue && !holdsAnything else {
      let reason =
        holdsQueue
        ? "holds a queue, and a measurement would complete its tasks with results that it has made up"
        : "is not empty, and a measurement would fill the disk that it is on"
      throw .refused(
        "the database '\(queue.postgres.database)' \(reason); leave DB_NAME away for a database of its own, or name an "
          + "empty one")
    }
    return BenchmarkDatabase(queue: queue, home: nil)
  }

  /// Says in the database what it is for; called when the tables are there.
  /// - Throws: `Failure`.
  func mark(pool: ComputePool, log: Logger, on reactor: isolated Reactor) async throws(Failure) {
    let says = "comment on schema millrace is '\(BenchmarkDatabase.marker)'"
    try await BenchmarkDatabase.run(says, in: queue.postgres, pool: pool, log: log, on: reactor)
  }

  /// Drops it if it was made.
  /// - Throws: `Failure`.
  public func remove(pool: ComputePool, log: Logger, on reactor: isolated Reactor) async throws(Failure) {
    guard let home else { return }
    // Its own connections may not have ended yet, and nobody else's business is in there.
    let drop = "drop database \(name) with (force)"
    try await BenchmarkDatabase.run(drop, in: home, pool: pool, log: log, on: reactor)
  }

  @discardableResult
  private static func run(
    _ sql: String, in database: PostgresConfiguration, pool: ComputePool, log: Logger, on reactor: isolated Reactor
  ) async throws(Failure) -> PostgresResult {
    do throws(PostgresError) {
      let connection = try await PostgresConnection.connectPatiently(
        database, helpers: PostgresConnection.Helpers(pool: pool), log: log, on: reactor)
      defer { connection.close(on: reactor) }
      return try await connection.execute(PostgresStatement("bench", sql), on: reactor)
    } catch {
      throw .queue(QueueError(error))
    }
  }
}
