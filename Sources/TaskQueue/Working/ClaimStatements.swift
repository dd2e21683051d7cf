import Basics
import Postgres

/// Statements that take tasks out of the line.
enum ClaimStatements {
  /// The steps of a claim, of which the last one brings it.
  static func steps(_ wish: ClaimWish, worker: Int64) -> [(PostgresStatement, PostgresParameters)] {
    let suspects = wish.places.count { $0.lane.isOfSuspects }
    precondition(suspects == 0 || suspects == wish.places.count && wish.count == 1, "a suspect is claimed alone")
    precondition(suspects == wish.places.count || wish.attempts == .any, "only of suspects attempts are looked at")
    let limited = Set(wish.places.filter { $0.runningMax != nil }.map(\.lane.line)).sorted()
    var parameters = PostgresParameters()
    parameters.add(worker)
    parameters.add(wish.places.map(\.lane.number))
    parameters.add(wish.places.map(\.floor))
    let isSimple = wish.attempts == .any && limited.isEmpty
    guard !isSimple || !wish.sharesPlaces && wish.count == 1,
      let one = ones[One(attempts: wish.attempts, isLimited: !limited.isEmpty)]
    else {
      parameters.add(Int32(clamping: max(wish.count, 1)))
      return [(claim, parameters)]
    }
    if limited.isEmpty { return [(one, parameters)] }
    // They come one after the other: each must see what those before it have claimed.
    var lines = PostgresParameters()
    lines.add(limited)
    parameters.add(limited)
    parameters.add(limited.map { line in Int64(wish.places.first { $0.lane.line == line }?.runningMax ?? 0) })
    return [(oneByOne, lines), (one, parameters)]
  }

  /// Whether a claim of `steps` had to give way to another of the same lines, as the answer to the first step tells.
  static func gaveWay(_ steps: [(PostgresStatement, PostgresParameters)], _ results: ArraySlice<PostgresResult>) -> Bool
  {
    steps.count > 1 && results.first.map { !$0.bool(0, 0) } ?? false
  }

  static func read(_ result: PostgresResult, _ wish: ClaimWish, into turn: inout Turn) {
    turn.claimed.reserveCapacity(result.rowCount)
    for row in 0..<result.rowCount {
      turn.found(result.int64(row, 1), in: result.int16(row, 8))
      // It was cancelled while it stood in line, and may have been purged since.
      if result.int16(row, 9) != 0 {
        turn.cancelled.append((result.int64(row, 2), result.int64(row, 0)))
        continue
      }
      turn.claimed.append(
        ClaimedTask(
          id: result.int64(row, 2), lease: result.int64(row, 0), kind: result.text(row, 3) ?? "",
          payload: result.bytes(row, 4) ?? [], attemptsBefore: Int(result.int16(row, 5)),
          attemptsMax: Int(result.int16(row, 6)), trace: result.text(row, 7),
          waited: ClaimStatements.span(result, row, from: 10, to: 11)))
    }
    turn.isFull = result.rowCount >= (wish.places.contains { $0.runningMax != nil } ? 1 : max(wish.count, 1))
  }

  /// The span between two times, none if the clock was set back.
  private static func span(_ result: PostgresResult, _ row: Int, from begin: Int, to end: Int) -> TimeSpan {
    TimeSpan(nanoseconds: UInt64(max(0, result.int64(row, end) - result.int64(row, begin))) * 1000)
  }

  /// As many tasks as are wanted, or a sixteenth more, of any number of lanes.
  private static let claim = PostgresStatement(
    "queue_claim", "select * from millrace.claim($1::bigint, $2::smallint[], $3::bigint[], $4::integer)")

  /// What decides how a single task is claimed.
  private struct One: Hashable {
    let attempts: ClaimWish.Attempts
    let isLimited: Bool
  }

  /// Claims of a single task, in lanes where each has a place of its own: without a function, 17 us cheaper than
  /// `claim`.
  private static let ones = [
    One(attempts: .any, isLimited: false): one("queue_claim_one"),
    One(attempts: .any, isLimited: true): one("queue_claim_limited", lanes: isBelowBound),
    One(attempts: .allButLast, isLimited: false): one("queue_claim_all_but_last", rows: "and \(isLast) is not true"),
    One(attempts: .allButLast, isLimited: true): one(
      "queue_claim_limited_all_but_last", lanes: isBelowBound, rows: "and \(isLast) is not true"),
    One(attempts: .last, isLimited: false): one("queue_claim_last", rows: "and \(isLast)"),
    One(attempts: .last, isLimited: true): one("queue_claim_limited_last", lanes: isBelowBound, rows: "and \(isLast)"),
  ]

  /// The first row of those that the conditions `lanes` and `rows` let through. The rows must be such as are never
  /// updated, those of one task: the deletion does not see a version that is newer than the statement.
  private static func one(_ name: String, lanes: String = "", rows: String = "") -> PostgresStatement {
    PostgresStatement(
      name,
      """
      with picked as materialized (
        delete from millrace.ready_batch where ctid = any(array(
          select r.ctid from unnest($2::smallint[], $3::bigint[]) as l (lane, floor) \(lanes) cross join lateral (
            select r.ctid from millrace.ready_batch r where r.lane = l.lane and r.seq >= l.floor \(rows)
            order by r.lane, r.seq limit 1 for update skip locked) r
          limit 1)) returning ids, seq, lane
      ), leased as materialized (
        insert into millrace.lease (worker_id, lane, ids, claimed_at)
        select $1::bigint, lane, ids, clock_timestamp() from picked
        returning id, claimed_at
      )
      select l.id, p.seq, u.id, t.kind, t.payload, t.attempt, t.max_attempts, t.trace, p.lane,
        coalesce(t.state, 4::smallint), t.created_at, l.claimed_at
      from picked p cross join leased l cross join unnest(p.ids) as u (id)
        left join lateral (select * from millrace.task t where t.id = u.id offset 0) t on true
      """)
  }

  /// Whether a row of the line is that of a task's last attempt. What was cancelled or purged is claimed as if it had
  /// another one, to be passed over.
  private static let isLast =
    "(select t.state = 0 and t.attempt + 1 >= t.max_attempts from millrace.task t where t.id = r.ids[1])"

  /// Whether there are last attempts in any of the lanes `$1` of whose lines fewer than `$2` tasks run.
  static let lastAttemptsWait = PostgresStatement(
    "queue_last_attempts",
    """
    select exists (select from unnest($1::smallint[], $2::bigint[]) as l (lane, most)
      join millrace.ready_batch r on r.lane = l.lane
      where \(isLast) and l.most > (select count(*) from millrace.lease k where k.lane / 8 = l.lane / 8))
    """)

  /// `$4` are lines with a bound, and `$5` the bounds. One place is kept for a task whose worker was lost as long as
  /// one waits and some worker runs none: it could otherwise wait for ever.
  private static let isBelowBound =
    """
    join lateral (select l.lane, l.floor where not exists (
      select from unnest($4::smallint[], $5::bigint[]) as m (line, most)
      where m.line = l.lane / 8
        and (m.most <= (select count(*) from millrace.lease k where k.lane / 8 = m.line)
            + (l.lane % 8 <> 7 and exists (
                select from millrace.ready_batch s where s.lane = (m.line * 8 + 7)::smallint)
              and (select count(*) from millrace.lease k where k.lane % 8 = 7)
                < (select count(*) from millrace.worker w where not w.has_left))::integer
          or not exists (select from pg_locks g where g.locktype = 'advisory' and g.classid = 1296649045
            and g.objid = m.line and g.pid = pg_backend_pid() and g.granted)))) m on true
    """

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
