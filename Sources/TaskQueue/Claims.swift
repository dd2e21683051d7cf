public import Postgres
public import Reactor

/// A worker's statements: claim, complete, release, and the idle rows that decide whether it is notified.
public struct Claims: Sendable {
  /// The worker's id in the table `worker`.
  public let worker: Int64

  /// The statements of worker `worker`.
  public init(worker: Int64) {
    self.worker = worker
  }

  /// What one round trip brought: which completions counted, and what was claimed.
  public struct Turn {
    /// Ids whose completion was accepted; the others were fenced off, somebody else has them.
    public var accepted: [Int64] = []
    /// Tasks that are this worker's now.
    public var claimed: [ClaimedTask] = []
    /// The smallest `seq` claimed.
    public var firstSeq: Int64?
  }

  /// Completes and claims in one transaction, which saves a commit a batch.
  /// - Parameters:
  ///   - completions: may be empty. Their tasks' leases end with it when they stand in `endedLeases`.
  ///   - lane: from which to claim; nil claims nothing.
  ///   - count: how many to claim at most, cut to the largest prepared size.
  ///   - floor: the `seq` to start from: 0 looks at everything. It keeps a claim from walking over dead rows that an
  ///     old snapshot elsewhere keeps from being removed.
  ///   - wakes: also takes the worker's group off the list of sleepers.
  /// - Throws: `PostgresError`. After `connectionLost` or `deadline` it is not known whether it happened; the fence
  ///   makes it safe to complete again, and what was claimed without being seen comes back when the lease is rescued.
  public func turn(
    completing completions: [Completion], endedLeases: [Int64], claimingFrom lane: Lane?, count: Int, floor: Int64,
    wakes: Bool = false, connection: PostgresConnection, on reactor: isolated Reactor
  ) async throws(PostgresError) -> Turn {
    var steps: [(PostgresStatement, PostgresParameters)] = []
    if !completions.isEmpty || !endedLeases.isEmpty {
      steps.append((Claims.complete, Claims.parameters(completions, endedLeases)))
    }
    if wakes, let lane { steps.append((Claims.wake, parameters(lane.group))) }
    if let lane, count > 0 {
      var claim = PostgresParameters()
      claim.add(worker)
      claim.add(lane.number)
      claim.add(floor)
      steps.append((Claims.claim(atMost: count), claim))
    }
    guard !steps.isEmpty else { return Turn() }
    let results = try await connection.execute(steps, on: reactor)
    var turn = Turn()
    if !completions.isEmpty || !endedLeases.isEmpty {
      for row in 0..<results[0].rowCount { turn.accepted.append(results[0].int64(row, 0)) }
    }
    if lane != nil, count > 0 { Claims.read(results[results.count - 1], into: &turn) }
    return turn
  }

  /// Says that the slots of `group` are about to sleep. It must claim once more after this has returned, and only then
  /// sleep: whoever submits after the row was committed sends a NOTIFY, whoever did before is found by that claim.
  /// - Throws: `PostgresError`.
  public func announceIdle(
    group: Int16, _ connection: PostgresConnection, on reactor: isolated Reactor
  ) async throws(PostgresError) {
    _ = try await connection.execute(Claims.sleep, parameters(group), on: reactor)
  }

  /// Takes this worker off the list of sleepers, in all groups.
  /// - Throws: `PostgresError`.
  public func withdrawIdle(_ client: PostgresClient, on reactor: isolated Reactor) async throws(PostgresError) {
    var parameters = PostgresParameters()
    parameters.add(worker)
    _ = try await client.execute(
      PostgresStatement("queue_withdraw", "delete from millrace.idle_worker where worker_id = $1::bigint"), parameters,
      on: reactor)
  }

  /// Takes this worker off the list of sleepers in `group`.
  /// - Throws: `PostgresError`.
  public func withdrawIdle(
    group: Int16, _ client: PostgresClient, on reactor: isolated Reactor
  ) async throws(PostgresError) {
    _ = try await client.execute(Claims.wake, parameters(group), on: reactor)
  }

  /// Gives back tasks that were claimed and not begun, without counting an attempt.
  /// - Throws: `PostgresError`; a lease that could not be given back is rescued later.
  public func release(
    lease: Int64, ids: [Int64], connection: PostgresConnection, on reactor: isolated Reactor
  ) async throws(PostgresError) {
    var parameters = PostgresParameters()
    parameters.add(lease)
    parameters.add(ids)
    _ = try await connection.execute(Claims.releaseStatement, parameters, on: reactor)
  }

  private func parameters(_ group: Int16) -> PostgresParameters {
    var parameters = PostgresParameters()
    parameters.add(worker)
    parameters.add(group)
    return parameters
  }

  private static func parameters(_ completions: [Completion], _ endedLeases: [Int64]) -> PostgresParameters {
    var states: [Int16] = []
    var results: [[UInt8]?] = []
    var errors: [String?] = []
    var delays: [Double] = []
    for completion in completions {
      switch completion.outcome {
      case .completed(let result):
        states.append(TaskState.completed.rawValue)
        results.append(result)
        errors.append(nil)
        delays.append(0)
      case .failed(let error):
        states.append(TaskState.failed.rawValue)
        results.append(nil)
        errors.append(error)
        delays.append(0)
      case .retry(let error, let seconds):
        states.append(TaskState.queued.rawValue)
        results.append(nil)
        errors.append(error)
        delays.append(seconds)
      }
    }
    var parameters = PostgresParameters()
    parameters.add(completions.map(\.id))
    parameters.add(completions.map(\.lease))
    parameters.add(states)
    parameters.add(byteArrays: results)
    parameters.add(texts: errors)
    parameters.add(delays)
    parameters.add(Array(Set(completions.map(\.lease))))
    parameters.add(endedLeases)
    return parameters
  }

  private static func read(_ result: PostgresResult, into turn: inout Turn) {
    turn.claimed.reserveCapacity(result.rowCount)
    for row in 0..<result.rowCount {
      let seq = result.int64(row, 1)
      turn.firstSeq = min(turn.firstSeq ?? seq, seq)
      turn.claimed.append(
        ClaimedTask(
          id: result.int64(row, 2), lease: result.int64(row, 0), kind: result.text(row, 3) ?? "",
          payload: result.bytes(row, 4) ?? [], attemptsBefore: Int(result.int16(row, 5)),
          attemptsMax: Int(result.int16(row, 6)), trace: result.text(row, 7)))
    }
  }

  /// The sizes in which claims are prepared: with `limit $n` a generic plan cannot know how few rows are wanted.
  public static let claimSizes = [1, 16, 64, 256, 512]

  private static func claim(atMost count: Int) -> PostgresStatement {
    let size = claimSizes.last { $0 <= max(count, 1) } ?? 1
    return claims[claimSizes.firstIndex(of: size)!]
  }

  private static let claims = claimSizes.map { size in
    PostgresStatement(
      "queue_claim_\(size)",
      """
      with picked as materialized (
        delete from millrace.ready where ctid = any(array(
          select r.ctid from millrace.ready r where r.lane = $2::smallint and r.seq >= $3::bigint
          order by r.lane, r.seq limit \(size) for update skip locked))
        returning id, seq
      ), leased as materialized (
        insert into millrace.lease (worker_id, ids)
        select $1::bigint, array_agg(id) from picked having count(*) > 0
        returning id
      )
      select l.id, p.seq, t.id, t.kind, t.payload, t.attempt, t.max_attempts, t.trace
      from picked p cross join leased l
        cross join lateral (select * from millrace.task t where t.id = p.id offset 0) t
      """)
  }

  /// `ended` reads `done` so that a lease goes only after its completions were carried out.
  private static let complete = PostgresStatement(
    "queue_complete",
    """
    with input as materialized (
      select * from unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::bytea[], $5::text[], $6::float8[])
        as u (id, lease, state, result, error, delay)
    ), held as materialized (
      select id, claimed_at from millrace.lease where id = any($7::bigint[]) for key share
    ), done as (
      update millrace.task t set state = i.state, result = i.result, error = i.error, attempt = t.attempt + 1,
        started_at = h.claimed_at, finished_at = case when i.state <> 0 then now() end,
        payload = case when i.state = 0 then t.payload end
      from input i cross join held h
      where h.id = i.lease and t.id = i.id and t.state = 0
      returning t.id, t.lane, t.state, i.delay
    ), retried as (
      insert into millrace.scheduled (id, run_at, lane)
      select id, now() + make_interval(secs => delay), lane from done where state = 0
      on conflict (id) do nothing
    ), ended as (
      delete from millrace.lease where id = any($8::bigint[]) and (select count(*) from done) >= 0
    )
    select id from done
    """)

  private static let sleep = PostgresStatement(
    "queue_sleep",
    "insert into millrace.idle_worker (worker_id, slot_group) values ($1::bigint, $2::smallint) on conflict do nothing")

  private static let wake = PostgresStatement(
    "queue_wake", "delete from millrace.idle_worker where worker_id = $1::bigint and slot_group = $2::smallint")

  private static let releaseStatement = PostgresStatement(
    "queue_release",
    """
    with kept as (
      select id, array(select unnest(ids) except select unnest($2::bigint[])) as ids
      from millrace.lease where id = $1::bigint for update
    ), shrunk as (
      update millrace.lease l set ids = k.ids from kept k where l.id = k.id and k.ids <> '{}'
    ), ended as (
      delete from millrace.lease l using kept k where l.id = k.id and k.ids = '{}'
    )
    insert into millrace.ready (lane, seq, id)
    select t.lane, nextval('millrace.ready_seq'), t.id
    from kept k cross join unnest($2::bigint[]) as u (id) join millrace.task t on t.id = u.id and t.state = 0
    """)
}
