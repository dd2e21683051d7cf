import Basics
public import Reactor
public import Telemetry

/// One step of a schema: a number that is never reused, a name, and what it does: statements in one transaction.
///
/// What takes too long for that, because it reads through all tasks there are, goes before them in pieces; what was
/// done stays done, whatever happens meanwhile.
public struct Migration: Sendable {
  /// Its place in the order, from 1 without gaps.
  public let number: Int32
  /// What it does, in a few words.
  public let name: String
  /// How many steps a program has to know that works on tables of this step or a later one. The sessions of programs
  /// that know fewer are ended; they come back, and wait.
  let oldestProgram: Int32
  let nextPiece: String?
  let statements: [String]

  /// Step `number`, of `statements` without terminating semicolons.
  /// - Parameter oldestProgram: how many steps a program has to know that works on the tables from then on; 0 as long
  ///   as those of before can.
  /// - Parameter nextPiece: a query that returns one row with the next statement to be run before the others, how many
  ///   of them are done, and how many there are, and no row when all are done. Each is a transaction of its own, so the
  ///   step can be broken off and begun again.
  public init(
    _ number: Int32, _ name: String, oldestProgram: Int32 = 0, preparedBy nextPiece: String? = nil,
    _ statements: [String]
  ) {
    self.number = number
    self.name = name
    self.oldestProgram = oldestProgram
    self.nextPiece = nextPiece
    self.statements = statements
  }
}

/// Brings a database's schema up to date. Safe to run from several processes at once: an advisory lock lets one do the
/// work and the others find it done.
public struct Migrator {
  private let migrations: [Migration]
  private let ledger: MigrationLedger
  private let log: Logger
  /// "MILR" in ASCII: any constant that no other program of the database uses.
  private static let lockKey: Int64 = 0x4D49_4C52

  /// A migrator for `migrations`, numbered from 1 without gaps, which are written down in `ledger`.
  public init(_ migrations: [Migration], in ledger: MigrationLedger = .main, log: Logger) {
    precondition(migrations.map { Int($0.number) } == Array(1...migrations.count), "migrations must be 1, 2, 3, …")
    self.migrations = migrations
    self.ledger = ledger
    self.log = log
  }

  /// Runs what is missing and returns the numbers that were run. What meets another transaction that is in its way is
  /// tried again; it waits for a lock only briefly, for whoever comes behind it waits for that long as well.
  /// - Throws: `PostgresError`; the schema is then at the last step that was committed. Also if the database is at a
  ///   later step than this program knows.
  public func run(on connection: PostgresConnection, on reactor: isolated Reactor) async throws(PostgresError)
    -> [Int32]
  {
    let asks = [("migrate_ask", "select pg_try_advisory_lock(\(Migrator.lockKey))")]
    if try await !execute(asks, connection, on: reactor).bool(0, 0) {
      log.info("another program migrates, waiting for it", [("seconds_max", "\(Limits.migrationLockSeconds)")])
      let waits = [("migrate_lock", "select pg_advisory_lock(\(Migrator.lockKey))")]
      _ = try await execute(waits, seconds: Limits.migrationLockSeconds, connection, on: reactor)
    }
    let result: Result<[Int32], PostgresError>
    do {
      let patience = "set lock_timeout = \(Limits.migrationLockMs)"
      _ = try await execute([("migrate_patience", patience)], connection, on: reactor)
      result = .success(try await runLocked(on: connection, on: reactor))
      // Also if nothing was to be run: whoever did it may have ended before it came to this.
      await endOutgrown(on: connection, on: reactor)
    } catch {
      result = .failure(error)
    }
    // Where this fails the connection is gone, and the lock with it; why the migration failed is worth more.
    let ends = [
      ("migrate_unlock", "select pg_advisory_unlock(\(Migrator.lockKey))"), ("migrate_reset", "reset lock_timeout"),
    ]
    for end in ends { _ = try? await execute([end], connection, on: reactor) }
    return try result.get()
  }

  private func runLocked(
    on connection: PostgresConnection, on reactor: isolated Reactor
  ) async throws(PostgresError) -> [Int32] {
    let create = [
      "create schema if not exists millrace",
      """
      create table if not exists millrace.\(ledger.table) (
        number integer primary key, name text not null, applied_at timestamptz not null default now())
      """,
      "alter table millrace.\(ledger.table) add column if not exists oldest_program integer not null default 0",
    ]
    for (index, sql) in create.enumerated() {
      _ = try await execute([("migrate_create_\(index)", sql)], connection, on: reactor)
    }
    let latest = try await execute(
      [("migrate_latest", "select coalesce(max(number), 0) from millrace.\(ledger.table)")], connection, on: reactor
    ).int32(0, 0)
    guard latest <= migrations.count else {
      throw PostgresError(
        .server(sqlstate: "55000"),
        "the schema is at step \(latest) and this program knows only \(migrations.count): use a newer program")
    }
    var applied: [Int32] = []
    for migration in migrations[Int(latest)...] {
      if let query = migration.nextPiece { try await runPieces(of: migration, query, connection, on: reactor) }
      let steps = migration.statements.enumerated().map { ("migrate_\(migration.number)_\($0)", $1) }
      let name = migration.name.replacing("'", with: "''")
      let record =
        "insert into millrace.\(ledger.table) (number, name, oldest_program) "
        + "values (\(migration.number), '\(name)', \(migration.oldestProgram))"
      _ = try await execute(steps + [("migrate_record_\(migration.number)", record)], connection, on: reactor)
      log.info("migrated", [("step", "\(migration.number)"), ("name", migration.name)])
      applied.append(migration.number)
    }
    return applied
  }

  /// Ends what sessions there are of programs that the tables have left behind.
  private func endOutgrown(on connection: PostgresConnection, on reactor: isolated Reactor) async {
    do throws(PostgresError) {
      let ended = try await execute([("migrate_end", ledger.endOutgrown)], connection, on: reactor).int64(0, 0)
      if ended > 0 { log.info("ended sessions of programs that are too old now", [("sessions", "\(ended)")]) }
    } catch {
      log.warning("programs that are too old now go on: stop them", [("reason", error.message)])
    }
  }

  private func runPieces(
    of migration: Migration, _ query: String, _ connection: PostgresConnection, on reactor: isolated Reactor
  ) async throws(PostgresError) {
    var count = 0
    var told = reactor.now
    while true {
      let next = try await execute([("migrate_\(migration.number)_next", query)], connection, on: reactor)
      guard next.rowCount > 0, let sql = next.text(0, 0) else { return }
      // Whoever waits wants to know how long; where there is little to do nobody waits.
      if reactor.now.since(told) >= .milliseconds(Limits.migrationProgressMs) {
        told = reactor.now
        log.info(
          "migrating",
          [("step", "\(migration.number)"), ("done", "\(next.int64(0, 1))"), ("of", "\(next.int64(0, 2))")])
      }
      _ = try await execute([("migrate_\(migration.number)_piece_\(count)", sql)], connection, on: reactor)
      count += 1
    }
  }

  /// Runs `steps` as one transaction, again if another one was in its way, and returns the rows of the last.
  private func execute(
    _ steps: [(name: String, sql: String)], seconds: UInt64 = Limits.migrationSeconds,
    _ connection: PostgresConnection, on reactor: isolated Reactor
  ) async throws(PostgresError) -> PostgresResult {
    let statements = steps.map { (PostgresStatement($0.name, $0.sql), PostgresParameters()) }
    var tries = 1
    while true {
      do {
        let deadline = reactor.now + .seconds(seconds)
        return try await connection.execute(statements, until: deadline, on: reactor).last!
      } catch  where error.isConflict && tries < Limits.migrationTries {
        log.info("another transaction is in the way, trying again", [("reason", error.message)])
        tries += 1
        await reactor.sleep(for: .milliseconds(Limits.migrationPauseMs))
      }
    }
  }
}
