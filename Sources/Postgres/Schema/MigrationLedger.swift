/// Where it is written down which steps of a schema were run. A room that has tables of its own has a ledger of its
/// own, so its steps have numbers of their own and nobody's wait for another's.
public struct MigrationLedger: Sendable {
  /// Its table, in the schema `millrace`.
  let table: String
  /// The class of the locks that are signs of its programs, and of nothing else in the database.
  let signClass: Int32

  /// The ledger in the table `millrace.<table>`; `signClass` is a constant that no other ledger has.
  public init(_ table: String, signClass: Int32) {
    self.table = table
    self.signClass = signClass
  }

  /// The first there was. "MILT" in ASCII.
  public static let main = MigrationLedger("migration", signClass: 0x4D49_4C54)

  /// A lock of the whole session that many may hold and nobody waits for.
  func sign(of known: Int) -> PostgresStatement {
    PostgresStatement("sign_\(table)_\(known)", "select pg_advisory_lock_shared(\(signClass), \(known))")
  }

  /// Ends the sessions of programs that the tables have left behind, waits for the end of each, a second at most, and
  /// returns how many there were.
  var endOutgrown: String {
    """
    select count(pg_terminate_backend(pid, 1000)) from (
      select distinct pid from pg_locks
      where locktype = 'advisory' and classid = \(signClass) and objsubid = 2
        and database = (select oid from pg_database where datname = current_database())
        and objid::bigint < (select coalesce(max(oldest_program), 0) from millrace.\(table))
    ) outgrown
    """
  }

  /// The last step that was run, and how many steps a program has to know. By way of JSON, for tables that were made
  /// before the column was there.
  var fit: PostgresStatement {
    PostgresStatement(
      "fit_\(table)",
      """
      select coalesce(max(number), 0)::bigint, coalesce(max((to_jsonb(m) ->> 'oldest_program')::bigint), 0)::bigint
      from millrace.\(table) m
      """)
  }
}
