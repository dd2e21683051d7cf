import Basics
import Postgres

/// Statements that take tasks out of the line.
enum ClaimStatements {
  /// The sizes in which claims are prepared: with `limit $n` a generic plan cannot know how few rows are wanted.
  static let sizes = [1, 4, 8, 16, 64, 128, 256, 512]

  /// Which of the sizes is the largest that is no more than wished for.
  private static func index(of wish: ClaimWish) -> Int { sizes.lastIndex { $0 <= max(wish.count, 1) } ?? 0 }

  /// The steps of a claim, of which the last one brings it.
  static func steps(_ wish: ClaimWish, worker: Int64) -> [(PostgresStatement, PostgresParameters)] {
    let limited = Set(wish.places.filter { $0.runningMax != nil }.map(\.lane.line)).sorted()
    if limited.isEmpty { return [step(wish, worker: worker)] }
    // They come one after the other: each must see what those before it have claimed.
    var lines = PostgresParameters()
    lines.add(limited)
    var (statement, parameters) = step(wish, worker: worker)
    statement = ClaimStatements.limited
    if !wish.takesSuspects { parameters.add([Int16]()) }
    parameters.add(limited)
    parameters.add(limited.map { line in Int64(wish.places.first { $0.lane.line == line }?.runningMax ?? 0) })
    return [(ClaimStatements.oneByOne, lines), (statement, parameters)]
  }

  private static func step(_ wish: ClaimWish, worker: Int64) -> (PostgresStatement, PostgresParameters) {
    var parameters = PostgresParameters()
    parameters.add(worker)
    parameters.add(wish.places.map(\.lane.number))
    parameters.add(wish.places.map(\.floor))
    guard wish.takesSuspects else { return (plain[index(of: wish)], parameters) }
    parameters.add(Set(wish.places.map(\.lane.ofSuspects.number)).sorted())
    return (withSuspects[index(of: wish)], parameters)
  }

  /// Whether a claim of `steps` had to give way to another of the same lines, as the answer to the first step tells.
  static func gaveWay(_ steps: [(PostgresStatement, PostgresParameters)], _ results: ArraySlice<PostgresResult>) -> Bool
  {
    steps.count > 1 && results.first.map { !$0.bool(0, 0) } ?? false
  }

  static func read(_ result: PostgresResult, _ wish: ClaimWish, into turn: inout Turn) {
    turn.claimed.reserveCapacity(result.rowCount)
    for row in 0..<result.rowCount {
      turn.found(result.int64(row, 1), in: result.int16(row, 9))
      // It was cancelled while it stood in line, and may have been purged since.
      if result.int16(row, 10) != 0 {
        turn.cancelled.append((result.int64(row, 2), result.int64(row, 0)))
        continue
      }
      turn.claimed.append(
        ClaimedTask(
          id: result.int64(row, 2), lease: result.int64(row, 0), kind: result.text(row, 3) ?? "",
          payload: result.bytes(row, 4) ?? [], attemptsBefore: Int(result.int16(row, 5)),
          attemptsMax: Int(result.int16(row, 6)), trace: result.text(row, 7),
          waited: ClaimStatements.span(result, row, from: 11, to: 12)))
    }
    let isSuspect = result.rowCount > 0 && Lane(number: result.int16(0, 8)).isOfSuspects
    // A suspect is claimed alone, whatever else waits, and says nothing about the place of the others.
    if isSuspect { turn.firsts = [] }
    let most = wish.places.contains { $0.runningMax != nil } ? 1 : sizes[index(of: wish)]
    turn.isFull = isSuspect || result.rowCount >= most
  }

  /// The span between two times, none if the clock was set back.
  private static func span(_ result: PostgresResult, _ row: Int, from begin: Int, to end: Int) -> TimeSpan {
    TimeSpan(nanoseconds: UInt64(max(0, result.int64(row, end) - result.int64(row, begin))) * 1000)
  }

  /// Whether a row is picked is decided by its place alone, and rows that others hold are passed over. `lanes` are gone
  /// through in their order, and only as far as there is something missing.
  private static func pick(_ lanes: String, _ limit: Int) -> String {
    """
    ctid = any(array(
      select r.ctid from \(lanes) cross join lateral (
        select r.ctid from millrace.ready r where r.lane = l.lane and r.seq >= l.floor
        order by r.lane, r.seq limit \(limit) for update skip locked) r
      limit \(limit))) returning id, seq, lane
    """
  }

  /// The lease's lane is that of suspects, or one of those that were picked from.
  private static func lease(_ picking: String) -> String {
    """
    with \(picking), leased as materialized (
      insert into millrace.lease (worker_id, lane, ids)
      select $1::bigint, min(lane), array_agg(id) from picked having count(*) > 0
      returning id, lane, claimed_at
    )
    select l.id, p.seq, p.id, t.kind, t.payload, t.attempt, t.max_attempts, t.trace, l.lane, p.lane,
      coalesce(t.state, 4::smallint), t.created_at, l.claimed_at
    from picked p cross join leased l
      left join lateral (select * from millrace.task t where t.id = p.id offset 0) t on true
    """
  }

  private static let others = "unnest($2::smallint[], $3::bigint[]) as l (lane, floor)"
  private static let suspects = "(select lane, 0::bigint as floor from unnest($4::smallint[]) as s (lane)) l"

  private static let plain = sizes.map { size in
    PostgresStatement(
      "queue_claim_\(size)",
      lease(
        """
        picked as materialized (
          delete from millrace.ready where \(pick(others, size))
        )
        """))
  }

  /// The same; a task whose worker was lost is taken first, and alone.
  private static let withSuspects = sizes.map { size in
    PostgresStatement(
      "queue_claim_all_\(size)",
      lease(
        """
        suspect as materialized (
          delete from millrace.ready where \(pick(suspects, 1))
        ), others as materialized (
          delete from millrace.ready where (select count(*) from suspect) = 0
            and \(pick(others, size))
        ), picked as materialized (select * from suspect union all select * from others)
        """))
  }

  /// The same for one task, if fewer of its line run than may: `$5` are lines with a bound, and `$6` the bounds.
  private static let limited: PostgresStatement = {
    let room = """
      join lateral (select l.lane, l.floor where not exists (
        select from unnest($5::smallint[], $6::bigint[]) as m (line, most)
        where m.line = l.lane / 8
          and (m.most <= (select count(*) from millrace.lease k where k.lane / 8 = m.line)
            or not exists (select from pg_locks g where g.locktype = 'advisory' and g.classid = 1296649045
              and g.objid = m.line and g.pid = pg_backend_pid() and g.granted)))) m on true
      """
    func pick(_ lanes: String) -> String {
      ClaimStatements.pick("\(lanes) \(room)", 1)
    }
    return PostgresStatement(
      "queue_claim_limited",
      lease(
        """
        suspect as materialized (
          delete from millrace.ready where \(pick(suspects))
        ), others as materialized (
          delete from millrace.ready where (select count(*) from suspect) = 0 and \(pick(others))
        ), picked as materialized (select * from suspect union all select * from others)
        """))
  }()

  /// Whose turn it is to claim of lines with a bound, until the commit. Whoever has to wait for that asks again later:
  /// behind it others wait that want something else.
  private static let oneByOne = PostgresStatement(
    "queue_claim_one_by_one",
    """
    select coalesce(bool_and(pg_try_advisory_xact_lock(1296649045, line)), true)
    from (select unnest($1::smallint[])::integer as line order by 1) l
    """)

  /// Stores the shares that are told, those not below 0, and tells which tasks are still wanted of their lease.
  static let progress = PostgresStatement(
    "queue_progress",
    """
    with input as materialized (
      select i.id, i.share from unnest($1::bigint[], $2::bigint[], $3::float8[]) as i (id, lease, share)
        cross join lateral (select from millrace.task t where t.id = i.id and t.state = 0 offset 0) t
      where exists (select from millrace.lease l where l.id = i.lease and i.id = any(l.ids))
    ), told as (
      update millrace.task t set progress = i.share from input i where t.id = i.id and t.state = 0 and i.share >= 0
    )
    select id from input
    """)

  /// Parameters: worker, group, number, and the newest number that is known to be away. What stands between the two
  /// gives way to the new row; one that comes late gives way itself.
  static let announce = PostgresStatement(
    "queue_announce",
    """
    with former as (
      delete from millrace.sleeper
      where worker_id = $1::bigint and slot_group = $2::smallint and number > $4::bigint and number < $3::bigint
    )
    insert into millrace.sleeper (worker_id, slot_group, number)
    select $1::bigint, $2::smallint, $3::bigint where not exists (
      select from millrace.sleeper
      where worker_id = $1::bigint and slot_group = $2::smallint and number > $3::bigint)
    """)

  /// The same parameters.
  static let withdraw = PostgresStatement(
    "queue_withdraw",
    """
    delete from millrace.sleeper
    where worker_id = $1::bigint and slot_group = $2::smallint and number > $4::bigint and number <= $3::bigint
    """
  )

  static let release = PostgresStatement("queue_release", "select millrace.release($1::bigint, $2::bigint[])")
}
