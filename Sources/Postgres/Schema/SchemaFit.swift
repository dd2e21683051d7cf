public import Reactor

/// Whether a program can work on the tables that it finds: they have to be at the last step that it knows or at a later
/// one, and none of the later ones may have left it behind (`Migration.oldestProgram`). So in a rolling upgrade the
/// tables go first, and programs of before and after work side by side.
public enum SchemaFit: Equatable, Sendable {
  /// It can.
  case fits
  /// Tables at `step`, or none: `millrace migrate` of this program has not been run.
  case tooOld(step: Int64)
  /// Only programs that know `steps` steps can work on these tables.
  case tooNew(steps: Int64)

  /// The fit of a program that knows `known` steps with tables at `step`, which need one that knows `oldestProgram`.
  static func judge(step: Int64, oldestProgram: Int64, known: Int64) -> SchemaFit {
    if step < known { return .tooOld(step: step) }
    return oldestProgram > known ? .tooNew(steps: oldestProgram) : .fits
  }

  /// Looks at the tables behind `connection` on behalf of a program that knows `known` steps, and leaves a sign on the
  /// session, so that a migration which leaves such programs behind later finds it and ends it.
  /// - Throws: `PostgresError`: `unfitSchema` if they do not fit.
  public static func check(
    _ connection: PostgresConnection, known: Int, on reactor: isolated Reactor
  ) async throws(PostgresError) {
    let fit: SchemaFit
    do {
      // In this order: whatever migrates after the look has found the sign.
      let steps = [(sign(of: known), PostgresParameters()), (statement, PostgresParameters())]
      let row = try await connection.execute(steps, on: reactor)[1]
      fit = judge(step: row.int64(0, 0), oldestProgram: row.int64(0, 1), known: Int64(known))
    } catch  where error.lacksMigration {
      fit = .tooOld(step: 0)
    }
    switch fit {
    case .fits: return
    case .tooOld(let step):
      throw PostgresError(
        .unfitSchema(isNewer: false), "the tables are at step \(step), and this program needs step \(known)")
    case .tooNew(let steps):
      throw PostgresError(
        .unfitSchema(isNewer: true), "the tables need a program that knows \(steps) steps, and this one knows \(known)")
    }
  }

  /// "MILT" in ASCII: the class of the locks that are signs, and of nothing else in the database.
  private static let signClass: Int32 = 0x4D49_4C54

  /// A lock of the whole session that many may hold and nobody waits for.
  private static func sign(of known: Int) -> PostgresStatement {
    PostgresStatement("schema_sign_\(known)", "select pg_advisory_lock_shared(\(signClass), \(known))")
  }

  /// Ends the sessions of programs that the tables have left behind, waits for the end of each, a second at most, and
  /// returns how many there were.
  static let endOutgrown = """
    select count(pg_terminate_backend(pid, 1000)) from (
      select distinct pid from pg_locks
      where locktype = 'advisory' and classid = \(signClass) and objsubid = 2
        and database = (select oid from pg_database where datname = current_database())
        and objid::bigint < (select coalesce(max(oldest_program), 0) from millrace.migration)
    ) outgrown
    """

  /// By way of JSON, for tables that were made before the column was there.
  private static let statement = PostgresStatement(
    "schema_fit",
    """
    select coalesce(max(number), 0)::bigint, coalesce(max((to_jsonb(m) ->> 'oldest_program')::bigint), 0)::bigint
    from millrace.migration m
    """)
}
