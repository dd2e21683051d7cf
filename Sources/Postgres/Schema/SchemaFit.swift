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

  /// Looks at the tables behind `connection` on behalf of a program that knows `known` steps of `ledger`, and leaves a
  /// sign on the session, so that a migration which leaves such programs behind later finds it and ends it.
  /// - Throws: `PostgresError`: `unfitSchema` if they do not fit.
  public static func check(
    _ connection: PostgresConnection, _ ledger: MigrationLedger = .main, known: Int, on reactor: isolated Reactor
  ) async throws(PostgresError) {
    let fit: SchemaFit
    do {
      // In this order: whatever migrates after the look has found the sign.
      let steps = [(ledger.sign(of: known), PostgresParameters()), (ledger.fit, PostgresParameters())]
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
}
