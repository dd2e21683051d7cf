public import Basics
import Postgres
public import Reactor
import Telemetry

extension QueueWorker {
  /// What a beat was answered.
  public struct Beat: Sendable {
    /// In how many seconds this worker beats again at the latest.
    public let promisedSeconds: Double
    /// What time it was, by PostgreSQL's clock, in seconds since the Unix epoch.
    public let clockSeconds: Double
    /// How long the server has been up.
    public let serverSeconds: Double
    /// Other workers that there is something to say about.
    public let suspects: [TakeOverPolicy.Suspect]
    /// Seconds until the next scheduled task, nil if none waits; not above 0 if it is due.
    public let nextDueSeconds: Double?
    /// The tasks that have waited longest in lines whose slots sleep: there should soon be none.
    public let waiting: [WaitingTask]
  }

  /// A task that waits to be claimed.
  public struct WaitingTask: Equatable, Sendable {
    /// The line that it stands in.
    public var line: Int16 { Lane(number: lane).line }
    /// Whether its worker was lost.
    public var isSuspect: Bool { Lane(number: lane).isOfSuspects }
    let lane: Int16
    let seq: Int64
  }

  /// Says that the worker lives, and learns what there is to worry about.
  /// - Parameters:
  ///   - held: the leases that slots know of; older ones in this worker's name come from lost answers and are given
  ///     back, without an attempt lost.
  ///   - leaseSeconds: how old those are at least.
  ///   - idleLines: lines whose slots sleep.
  ///   - schedule: how often this worker beats.
  ///   - isAtRest: whether it may beat as seldom as others' beats allow.
  ///   - testAfter: how long nothing may have been heard until a notification tests whether listening works.
  /// - Throws: `QueueError`.
  public func beat(
    held: [Int64], leaseSeconds: Double, idleLines: [Int16], schedule: BeatSchedule, isAtRest: Bool,
    testAfter: TimeSpan, on reactor: isolated Reactor
  ) async throws(QueueError) -> Beat {
    guard let id else { throw QueueError(.unavailable, "the worker is not registered") }
    let tests = lifeline.beginTest(afterQuiet: testAfter, on: reactor)
    var parameters = PostgresParameters()
    parameters.add(id)
    parameters.add(text: name)
    parameters.add(held)
    parameters.add(leaseSeconds)
    parameters.add(idleLines)
    parameters.add(schedule.beat.seconds)
    parameters.add(schedule.longest.seconds)
    parameters.add(Int16(isAtRest ? 1 : 0))
    parameters.add(Int16(tests ? 1 : 0))
    var me = PostgresParameters()
    me.add(id)
    do {
      let connection = try await client.connection(on: reactor)
      // What nobody here knows of was never begun: it is given back before the beat would take it for lost. Whoever
      // takes over locks the row of the worker before its leases.
      let steps = [
        (QueueWorker.lockStatement, me), QueueWorker.givingBack(of: id, held: held, leaseSeconds: leaseSeconds),
        (QueueWorker.beatStatement, parameters),
      ]
      let result = try await connection.execute(steps, on: reactor)[2]
      if tests { lifeline.testAnswered(at: reactor.now) }
      return QueueWorker.read(result)
    } catch {
      // What was not sent cannot come back; a test that was sent all the same is answered early, which does no harm.
      if tests { lifeline.abandonTest() }
      throw QueueError(error)
    }
  }

  /// Gives leases of the worker back that are none of those `held` and `leaseSeconds` old or older.
  private static func givingBack(
    of id: Int64, held: [Int64], leaseSeconds: Double
  ) -> (PostgresStatement, PostgresParameters) {
    var parameters = PostgresParameters()
    parameters.add(id)
    parameters.add(held)
    parameters.add(leaseSeconds)
    return (giveBackStatement, parameters)
  }

  private static func read(_ result: PostgresResult) -> Beat {
    func list<T: LosslessStringConvertible>(_ column: Int) -> [T] {
      (result.text(0, column) ?? "").split(separator: ",").compactMap { T(String($0)) }
    }
    let workers: [Int64] = list(3)
    let beats: [Int64] = list(4)
    let silent: [Double] = list(5)
    let promised: [Double] = list(6)
    let gone: [Int] = list(7)
    let lanes: [Int16] = list(9)
    let seqs: [Int64] = list(10)
    return Beat(
      promisedSeconds: result.double(0, 0), clockSeconds: result.double(0, 1), serverSeconds: result.double(0, 2),
      suspects: workers.indices.map {
        TakeOverPolicy.Suspect(
          worker: workers[$0], beats: beats[$0], silentSeconds: silent[$0], promisedSeconds: promised[$0],
          isSessionGone: gone[$0] == 1)
      },
      nextDueSeconds: result.isNull(0, 8) ? nil : result.double(0, 8),
      waiting: zip(lanes, seqs).map { WaitingTask(lane: $0, seq: $1) })
  }

  /// Which of `tasks` nobody has claimed yet.
  /// - Throws: `QueueError`.
  public func stillWaiting(_ tasks: [WaitingTask], on reactor: isolated Reactor) async throws(QueueError)
    -> [WaitingTask]
  {
    var parameters = PostgresParameters()
    parameters.add(tasks.map(\.lane))
    parameters.add(tasks.map(\.seq))
    let result = try await asQueue { () throws(PostgresError) in
      try await client.execute(QueueWorker.stillWaitingStatement, parameters, on: reactor)
    }
    let found = Set((0..<result.rowCount).map { result.int64($0, 0) })
    return tasks.filter { found.contains($0.seq) }
  }

  /// Whether in any of `places` a task whose worker was lost waits for its last attempt, and no bound is in its way.
  /// - Throws: `QueueError`.
  public func lastAttemptsWait(
    in places: [ClaimWish.Place], on reactor: isolated Reactor
  ) async throws(QueueError) -> Bool {
    var parameters = PostgresParameters()
    parameters.add(places.map(\.lane.number))
    parameters.add(places.map { $0.runningMax.map(Int64.init) ?? .max })
    return try await asQueue { () throws(PostgresError) in
      try await client.execute(ClaimStatements.lastAttemptsWait, parameters, on: reactor).bool(0, 0)
    }
  }

  /// Whether this worker is, for the next `seconds`, the one of all that makes room for a last attempt: if all did so
  /// at the same time nobody would do anything else. One that `isAlone` already goes before one that is not yet.
  /// - Throws: `QueueError`; whoever has the turn then has it for no longer.
  public func takeSoleTurn(isAlone: Bool, seconds: Double, on reactor: isolated Reactor) async throws(QueueError)
    -> Bool
  {
    guard let id else { return false }
    var parameters = PostgresParameters()
    parameters.add(id)
    parameters.add(Int16(isAlone ? 1 : 0))
    parameters.add(seconds)
    return try await asQueue { () throws(PostgresError) in
      try await client.execute(QueueWorker.takeTurnStatement, parameters, on: reactor).rowCount > 0
    }
  }

  /// Lets another one make room. If that cannot be said, its time passes.
  public func endSoleTurn(on reactor: isolated Reactor) async {
    guard let id else { return }
    var parameters = PostgresParameters()
    parameters.add(id)
    _ = try? await client.execute(QueueWorker.endTurnStatement, parameters, on: reactor)
  }

  /// Carries out a verdict on what was seen at `clockSeconds`, and tells how many tasks were taken over.
  /// - Throws: `QueueError`.
  public func carryOut(
    _ verdict: TakeOverPolicy.Verdict, seenAt clockSeconds: Double, on reactor: isolated Reactor
  ) async throws(QueueError) -> Int64 {
    try await asQueue { () throws(PostgresError) in
      if !verdict.mute.isEmpty {
        var parameters = PostgresParameters()
        parameters.add(verdict.mute.map(\.worker))
        _ = try await client.execute(QueueWorker.muteStatement, parameters, on: reactor)
      }
      guard !verdict.dead.isEmpty else { return 0 }
      var parameters = PostgresParameters()
      parameters.add(verdict.dead.map(\.worker))
      parameters.add(verdict.dead.map(\.beats))
      parameters.add(clockSeconds)
      return try await client.execute(QueueWorker.takeOverStatement, parameters, on: reactor).int64(0, 0)
    }
  }

  /// Makes tasks ready whose time has come, and tells how many seconds remain until the next one's.
  /// - Throws: `QueueError`.
  public func promote(on reactor: isolated Reactor) async throws(QueueError) -> Double? {
    let result = try await asQueue { () throws(PostgresError) in
      try await client.execute(QueueWorker.promoteStatement, on: reactor)
    }
    return result.isNull(0, 1) ? nil : result.double(0, 1)
  }

  /// Makes partitions in time and drops those that are older than `retentionSeconds`, if this worker is the one of all
  /// that does it: whose lifeline holds the lock for it.
  /// - Returns: how often others were in the way, so that something was left for next time.
  /// - Throws: `QueueError`; what was done until then is done.
  public func maintain(retentionSeconds: Double, on reactor: isolated Reactor) async throws(QueueError) -> Int64 {
    guard try await lifeline.leads(on: reactor) else { return 0 }
    var parameters = PostgresParameters()
    parameters.add(retentionSeconds)
    var (moved, dropped, deleted, blocked) = (0, 0, 0, 0) as (Int64, Int64, Int64, Int64)
    var isMore = true
    for _ in 0..<Limits.maintenanceRounds where isMore {
      let result = try await asQueue { () throws(PostgresError) in
        try await client.execute(QueueWorker.maintainStatement, parameters, on: reactor)
      }
      moved += result.int64(0, 0)
      dropped += result.int64(0, 1)
      deleted += result.int64(0, 2)
      blocked += result.int64(0, 3)
      isMore = result.bool(0, 4)
    }
    do {
      _ = try await client.execute(QueueWorker.muteStrangersStatement, on: reactor)
      _ = try await client.execute(QueueWorker.forgetOrdersStatement, on: reactor)
    } catch {
      blocked += 1
    }
    if moved + dropped + deleted > 0 {
      log.info(
        "old tasks made room", [("moved", "\(moved)"), ("dropped", "\(dropped)"), ("deleted", "\(deleted)")])
    }
    return blocked
  }

  /// What is in the queue, if this worker has found to be the one of all that looks after partitions; nil if not.
  /// - Throws: `QueueError`.
  public func statsAsLeader(on reactor: isolated Reactor) async throws(QueueError) -> QueueStats? {
    guard lifeline.isLeader else { return nil }
    return try await asQueue { () throws(PostgresError) in
      try await QueueStats.read(try await client.connection(on: reactor), on: reactor)
    }
  }

  /// Leaves: the row says so, and the place among the sleepers goes. What was claimed by a turn whose answer was lost,
  /// and so was never begun, is given back: leases other than those `held`. A worker that is just being registered
  /// waits for its id: closed before that, its row would stay and look like one that was killed.
  /// - Throws: `QueueError`; others find out then that it is gone.
  public func leave(
    held: [Int64], until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async throws(QueueError) {
    await lifeline.settle(until: deadline, on: reactor)
    guard let id else { return }
    var (me, parameters) = (PostgresParameters(), PostgresParameters())
    me.add(id)
    parameters.add(id)
    parameters.add(text: name)
    let steps = [
      (QueueWorker.lockStatement, me), QueueWorker.givingBack(of: id, held: held, leaseSeconds: 0),
      (QueueWorker.leaveStatement, parameters),
    ]
    try await asQueue { () throws(PostgresError) in
      _ = try await client.connection(until: deadline, on: reactor)
        .execute(steps, until: deadline, on: reactor)
    }
  }

  private static let beatStatement = PostgresStatement(
    "worker_beat",
    """
    select promise, clock, uptime, workers, beats, silent, promised, gone, next_due, ready_lanes, ready_seqs
    from millrace.beat($1::bigint, $2::text, $3::bigint[], $4::float8, $5::smallint[], $6::float8, $7::float8,
      $8::smallint = 1, $9::smallint = 1)
    """)

  private static let lockStatement = PostgresStatement(
    "worker_lock", "select from millrace.worker where id = $1::bigint for update")

  private static let giveBackStatement = PostgresStatement(
    "worker_give_back",
    """
    select millrace.release(l.id, l.ids) from millrace.lease l
    where l.worker_id = $1::bigint and l.id <> all($2::bigint[])
      and l.claimed_at < now() - make_interval(secs => $3::float8)
    """)

  private static let takeTurnStatement = PostgresStatement(
    "worker_take_turn",
    """
    insert into millrace.sole_turn as s (worker_id, is_alone, ends_at)
    values ($1::bigint, $2::smallint = 1, now() + make_interval(secs => $3::float8))
    on conflict (is_only) do update set worker_id = excluded.worker_id, is_alone = excluded.is_alone,
        ends_at = excluded.ends_at
      where s.worker_id = excluded.worker_id or s.ends_at <= now() or excluded.is_alone and not s.is_alone
        or not exists (select from millrace.worker w where w.id = s.worker_id and not w.has_left)
    returning worker_id
    """)

  private static let endTurnStatement = PostgresStatement(
    "worker_end_turn",
    "update millrace.sole_turn set ends_at = now() where worker_id = $1::bigint and ends_at > now()")

  private static let stillWaitingStatement = PostgresStatement(
    "worker_still_waiting",
    """
    select r.seq from unnest($1::smallint[], $2::bigint[]) as u (lane, seq)
    join millrace.ready_batch r on r.lane = u.lane and r.seq = u.seq
    """)

  private static let takeOverStatement = PostgresStatement(
    "worker_take_over", "select millrace.take_over($1::bigint[], $2::bigint[], $3::float8)")

  private static let muteStatement = PostgresStatement("worker_mute", "select millrace.mute($1::bigint[])")

  /// An announcement may have been committed after its worker had left. Should one live, it is told to look.
  private static let muteStrangersStatement = PostgresStatement(
    "worker_mute_strangers",
    """
    select millrace.mute(array(select distinct s.worker_id from millrace.sleeper s
      where not exists (select from millrace.worker w where w.id = s.worker_id and not w.has_left)))
    """)

  /// Orders to workers that are gone. One that has been frozen for a while is not, although others have taken it for
  /// dead.
  private static let forgetOrdersStatement = PostgresStatement(
    "worker_forget_orders",
    """
    delete from millrace.worker_control c where given_at < now() - interval '1 day'
      and not exists (select from millrace.worker w where w.id = c.worker_id)
    """)

  private static let promoteStatement = PostgresStatement(
    "worker_promote", "select promoted, next_due from millrace.promote()")

  private static let maintainStatement = PostgresStatement(
    "worker_maintain", "select moved, dropped, deleted, blocked, is_more from millrace.maintain($1::float8)")

  /// What the worker held and could not give back is taken over at once by whoever looks next: nobody owns it. The row
  /// of the worker comes first, as it does for whoever takes over: in the other order the two could wait for each
  /// other.
  private static let leaveStatement = PostgresStatement(
    "worker_leave",
    """
    with gone as (
      insert into millrace.worker (id, name, has_left) overriding system value values ($1::bigint, $2::text, true)
      on conflict (id) do update set has_left = true returning id
    ), turn as (
      update millrace.sole_turn set ends_at = now() where worker_id = $1::bigint and ends_at > now()
    )
    delete from millrace.sleeper where worker_id = (select id from gone)
    """)
}
