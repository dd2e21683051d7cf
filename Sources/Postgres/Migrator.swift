import Basics
public import Reactor
public import Telemetry

/// One step of a schema: a number that is never reused, a name, and the statements, each run on its own in the step's
/// one transaction.
public struct Migration: Sendable {
  /// Its place in the order, from 1 without gaps.
  public let number: Int32
  /// What it does, in a few words.
  public let name: String
  /// The statements, without terminating semicolons.
  public let statements: [String]

  /// Step `number`.
  public init(_ number: Int32, _ name: String, _ statements: [String]) {
    self.number = number
    self.name = name
    self.statements = statements
  }
}

/// Brings a database's schema up to date. Safe to run from several processes at once: an advisory lock lets one do the
/// work and the others find it done.
public struct Migrator {
  private let migrations: [Migration]
  private let log: Logger
  /// "MILR" in ASCII: any constant that no other program of the database uses.
  private static let lockKey: Int64 = 0x4D49_4C52

  /// A migrator for `migrations`, numbered from 1 without gaps.
  public init(_ migrations: [Migration], log: Logger) {
    precondition(migrations.map { Int($0.number) } == Array(1...migrations.count), "migrations must be 1, 2, 3, …")
    self.migrations = migrations
    self.log = log
  }

  /// Runs what is missing and returns the numbers that were run.
  /// - Throws: `PostgresError`; the schema is then at the last step that was committed. Also if the database is at a
  ///   later step than this program knows.
  public func run(on connection: PostgresConnection, on reactor: isolated Reactor) async throws(PostgresError)
    -> [Int32]
  {
    let deadline = reactor.now + .seconds(300 as UInt64)
    _ = try await connection.execute(
      PostgresStatement("migrate_lock", "select pg_advisory_lock(\(Migrator.lockKey))"), until: deadline, on: reactor)
    let result: Result<[Int32], PostgresError>
    do {
      result = .success(try await runLocked(on: connection, until: deadline, on: reactor))
    } catch {
      result = .failure(error)
    }
    // Where this fails the connection is gone, and the lock with it; why the migration failed is worth more.
    _ = try? await connection.execute(
      PostgresStatement("migrate_unlock", "select pg_advisory_unlock(\(Migrator.lockKey))"), on: reactor)
    return try result.get()
  }

  private func runLocked(
    on connection: PostgresConnection, until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async throws(PostgresError) -> [Int32] {
    let create = [
      "create schema if not exists millrace",
      """
      create table if not exists millrace.migration (
        number integer primary key, name text not null, applied_at timestamptz not null default now())
      """,
    ]
    for (index, sql) in create.enumerated() {
      _ = try await connection.execute(PostgresStatement("migrate_create_\(index)", sql), until: deadline, on: reactor)
    }
    let latest = try await connection.execute(
      PostgresStatement("migrate_latest", "select coalesce(max(number), 0) from millrace.migration"),
      until: deadline, on: reactor
    ).int32(0, 0)
    guard latest <= migrations.count else {
      throw PostgresError(
        .server(sqlstate: "55000"),
        "the schema is at step \(latest) and this program knows only \(migrations.count): use a newer program")
    }
    var applied: [Int32] = []
    for migration in migrations[Int(latest)...] {
      var steps = migration.statements.enumerated().map { index, sql in
        (PostgresStatement("migrate_\(migration.number)_\(index)", sql), PostgresParameters())
      }
      var parameters = PostgresParameters()
      parameters.add(migration.number)
      parameters.add(text: migration.name)
      let record = PostgresStatement("migrate_record", "insert into millrace.migration (number, name) values ($1, $2)")
      steps.append((record, parameters))
      _ = try await connection.execute(steps, until: deadline, on: reactor)
      log.info("migrated", [("step", "\(migration.number)"), ("name", migration.name)])
      applied.append(migration.number)
    }
    return applied
  }
}
