public import Basics
public import Postgres
public import Reactor
public import Telemetry

/// A task that somebody wants to have run.
public struct Submission {
  /// The kind's name, which says how a worker computes it.
  public let kind: String
  /// Where it waits.
  public let lane: Lane
  /// What the kind computes from, as the worker will get it.
  public let payload: [UInt8]
  /// 32 bytes that are the same for the same task, so that it is found instead of repeated; nil: always a new task.
  public let digest: [UInt8]?
  /// New tasks of this kind for which one sleeping worker is woken: how many it takes on at once.
  public let tasksPerWakeUp: Int
  /// How often it is tried before it counts as failed.
  public let maxAttempts: Int16
  /// What the logs of its worker should show to connect it with its request.
  public let trace: String?

  /// A submission; see the properties.
  public init(
    kind: String, lane: Lane, payload: [UInt8], digest: [UInt8]?, tasksPerWakeUp: Int = 128,
    maxAttempts: Int16 = 3, trace: String? = nil
  ) {
    self.kind = kind
    self.lane = lane
    self.payload = payload
    self.digest = digest
    self.tasksPerWakeUp = max(1, tasksPerWakeUp)
    self.maxAttempts = maxAttempts
    self.trace = trace
  }
}

/// What became of a submission, told only after the commit.
public enum SubmitOutcome: Sendable, Equatable {
  /// A new task was queued.
  case queued(id: Int64)
  /// An identical task is under way; nothing was added.
  case underWay(id: Int64, state: TaskState)
  /// An identical task is over; its stored result and the seconds since it was completed.
  case completed(id: Int64, result: [UInt8], ageSeconds: Double)
}

/// Sends submissions to PostgreSQL in the batches that `BatchPolicy` decides on. Identical submissions that meet here
/// become one row.
public final class Submitter: EventHandler {
  private final class Pending {
    let submission: Submission
    var outcome: Result<SubmitOutcome, PostgresError>?
    var waiters: [UnsafeContinuation<Void, Never>] = []
    init(_ submission: Submission) { self.submission = submission }
  }

  private let client: PostgresClient
  private let log: Logger
  private let retentionSeconds: Double
  private var policy: BatchPolicy
  private var open: [Pending] = []
  private var byDigest: [[UInt8]: Pending] = [:]
  private var bytesWaiting = 0
  private var isFlushQueued = false
  private lazy var holdTimer = ReactorTimer(self)
  private let batches: Counter
  private let rows: Counter

  /// A submitter over `client`; results of unique tasks are found again for `retentionSeconds`, and a batch is held for
  /// a crowd for up to `holdMax`.
  public init(
    _ client: PostgresClient, retentionSeconds: Double, holdMax: TimeSpan = Limits.holdMax, log: Logger,
    metrics: Metrics
  ) {
    self.client = client
    self.log = log
    self.retentionSeconds = retentionSeconds
    policy = BatchPolicy(holdMax: holdMax)
    batches = metrics.counter("millrace_queue_submit_batches_total", "Statements that submitted tasks.")
    rows = metrics.counter("millrace_queue_submitted_tasks_total", "Tasks sent to PostgreSQL to be queued.")
  }

  /// Queues `submission`, or finds the identical task; returns after the commit.
  /// - Throws: `PostgresError`. After `connectionLost` or `deadline` the task may have been queued all the same.
  public func submit(
    _ submission: Submission, on reactor: isolated Reactor
  ) async throws(PostgresError) -> SubmitOutcome {
    let pending: Pending
    if let digest = submission.digest, let same = byDigest[digest] {
      pending = same
    } else {
      guard open.count < Limits.submissionsWaitingMax, bytesWaiting < Limits.bytesWaitingMax else {
        throw PostgresError(.overloaded, "\(open.count) submissions of \(bytesWaiting) bytes are waiting")
      }
      pending = Pending(submission)
      bytesWaiting += submission.payload.count
      open.append(pending)
      if let digest = submission.digest { byDigest[digest] = pending }
      if !isFlushQueued {
        isFlushQueued = true
        reactor.flushBeforeSleep(self)
      }
    }
    await withUnsafeContinuation { pending.waiters.append($0) }
    return try pending.outcome!.get()
  }

  /// The turn is over: what it brought may leave.
  public override func flush(on reactor: isolated Reactor) {
    isFlushQueued = false
    sendBatches(on: reactor)
  }

  /// Enough was held.
  public override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    sendBatches(on: reactor)
  }

  private func sendBatches(on reactor: isolated Reactor) {
    while true {
      switch policy.decision(waiting: open.count, at: reactor.now) {
      case .wait: return
      case .hold(let until): return reactor.arm(holdTimer, at: until)
      case .send: send(takeBatch(), on: reactor)
      }
    }
  }

  private func send(_ batch: [Pending], on reactor: isolated Reactor) {
    policy.sent()
    Task.immediate(executorPreference: reactor.queue) {
      await self.run(batch, on: reactor)
      self.policy.cameBack(rows: batch.count, waiting: self.open.count, at: reactor.now)
      self.sendBatches(on: reactor)
    }
  }

  private func takeBatch() -> [Pending] {
    let count = BatchPolicy.batchSize(of: open.lazy.map { $0.submission.payload.count })
    let batch = Array(open[..<count])
    bytesWaiting -= batch.reduce(0) { $0 + $1.submission.payload.count }
    open.removeFirst(count)
    return batch
  }

  private func run(_ batch: [Pending], on reactor: isolated Reactor) async {
    batches.increment()
    rows.add(batch.count)
    do {
      let connection = try await client.connection(on: reactor)
      let result = try await insert(batch, connection, on: reactor)
      let queued = deliver(result, to: batch)
      if !queued.isEmpty { notify(queued, connection, on: reactor) }
    } catch {
      // Without a connection those behind have waited in vain as well; a wait of their own would only be added.
      let failed = error.code == .unavailable ? batch + takeAll() : batch
      log.warning("submissions failed", [("tasks", "\(failed.count)"), ("reason", error.description)])
      for pending in failed { pending.outcome = .failure(error) }
      return finish(failed)
    }
    finish(batch)
  }

  private func takeAll() -> [Pending] {
    defer {
      open = []
      bytesWaiting = 0
    }
    return open
  }

  private func finish(_ batch: [Pending]) {
    for pending in batch {
      if let digest = pending.submission.digest { byDigest[digest] = nil }
      for waiter in pending.waiters { waiter.resume() }
    }
  }

  private func insert(
    _ batch: [Pending], _ connection: PostgresConnection, on reactor: isolated Reactor
  ) async throws(PostgresError) -> PostgresResult {
    var parameters = PostgresParameters()
    parameters.add(texts: batch.map { $0.submission.kind })
    parameters.add(batch.map { $0.submission.lane.number })
    parameters.add(byteArrays: batch.map { $0.submission.payload })
    parameters.add(byteArrays: batch.map { $0.submission.digest })
    parameters.add(batch.map { $0.submission.maxAttempts })
    parameters.add(texts: batch.map { $0.submission.trace })
    parameters.add(retentionSeconds)
    do {
      return try await connection.execute(Submitter.insertStatement, parameters, on: reactor)
    } catch  where error.code == .server(sqlstate: "23514") {
      // No partition takes the new ids: no worker was there to make one. Make it and try once more.
      _ = try await connection.execute(Submitter.partitionStatement, on: reactor)
      return try await connection.execute(Submitter.insertStatement, parameters, on: reactor)
    }
  }

  /// Gives each pending submission its outcome and returns those that are new.
  private func deliver(_ result: PostgresResult, to batch: [Pending]) -> [Submission] {
    var queued: [Submission] = []
    for row in 0..<result.rowCount {
      let id = result.int64(row, 1)
      if !result.isNull(row, 0) {
        let pending = batch[Int(result.int64(row, 0)) - 1]
        pending.outcome = .success(.queued(id: id))
        queued.append(pending.submission)
        continue
      }
      guard let digest = result.bytes(row, 2), let pending = byDigest[digest] else { continue }
      let state = TaskState(rawValue: result.isNull(row, 3) ? 0 : result.int16(row, 3)) ?? .queued
      if state == .completed, let stored = result.bytes(row, 4) {
        pending.outcome = .success(.completed(id: id, result: stored, ageSeconds: max(0, result.double(row, 5))))
      } else {
        pending.outcome = .success(.underWay(id: id, state: result.bool(row, 6) ? .running : .queued))
      }
    }
    for pending in batch where pending.outcome == nil {
      pending.outcome = .failure(PostgresError(.server(sqlstate: "XX000"), "a submission came back without an id"))
    }
    return queued
  }

  /// Wakes workers, in a transaction of its own after the commit and only if one of them says that it sleeps: NOTIFY
  /// takes a lock that all committing transactions share.
  private func notify(_ queued: [Submission], _ connection: PostgresConnection, on reactor: isolated Reactor) {
    Task.immediate(executorPreference: reactor.queue) {
      var parameters = PostgresParameters()
      let groups = Dictionary(grouping: queued) { $0.lane.group }
      parameters.add(Array(groups.keys))
      parameters.add(groups.values.map { Int64($0.count) })
      parameters.add(groups.values.map { Int64(($0.count + $0[0].tasksPerWakeUp - 1) / $0[0].tasksPerWakeUp) })
      do {
        _ = try await connection.execute(Submitter.notifyStatement, parameters, on: reactor)
      } catch {
        log.debug("notify failed; the safety sweep finds the tasks", [("reason", "\(error)")])
      }
    }
  }

  private static let partitionStatement = PostgresStatement(
    "queue_ensure_partitions", "select millrace.ensure_partitions()")

  /// As many sleeping workers as the tasks are worth, each on a channel of its own: of those who do not listen there
  /// nobody is woken. Whoever is woken sleeps no more, so that the next submission wakes another one. A worker whose
  /// lock can be had is dead, and notifying it would wake nobody.
  private static let notifyStatement = PostgresStatement(
    "queue_notify",
    """
    with wanted as materialized (
      select * from unnest($1::smallint[], $2::bigint[], $3::bigint[]) as w (slot_group, tasks, workers)
    ), chosen as materialized (
      select w.slot_group, w.tasks, i.worker_id from wanted w cross join lateral (
        select i.worker_id from millrace.idle_worker i
        where i.slot_group = w.slot_group
          and not pg_try_advisory_xact_lock_shared(\(WorkerPresence.lockClass), i.worker_id::integer)
        order by i.slot_group, i.worker_id limit w.workers for update skip locked) i
    ), woken as (
      delete from millrace.idle_worker d using chosen c
      where d.slot_group = c.slot_group and d.worker_id = c.worker_id
      returning d.worker_id, d.slot_group, c.tasks
    )
    select pg_notify('millrace_worker_' || worker_id, string_agg(slot_group || ':' || tasks, ','))
    from woken group by worker_id
    """)

  /// A new key is ours when it holds the id we drew. On a conflict the row is written back unchanged, because only a
  /// row that was written is returned, and only then is it the latest one: a plain read would not see what a concurrent
  /// transaction has just committed. `in (select …)` makes hashed subplans; a join of the two lists would be quadratic
  /// under a generic plan.
  private static let insertStatement = PostgresStatement(
    "queue_submit",
    """
    with input as materialized (
      select u.*, nextval('millrace.task_id') as id
      from unnest($1::text[], $2::smallint[], $3::bytea[], $4::bytea[], $5::smallint[], $6::text[])
        with ordinality as u (kind, lane, payload, digest, max_attempts, trace, ord)
    ), keyed as (
      insert into millrace.unique_key as k (digest, task_id, expires_at)
      select digest, id, now() + make_interval(secs => $7::float8) from input where digest is not null order by digest
      on conflict (digest) do update set
        (task_id, expires_at) = (select
          case when again then excluded.task_id else k.task_id end,
          case when again then excluded.expires_at else k.expires_at end
          from (select k.expires_at < now()
            or exists (select from millrace.task t where t.id = k.task_id and t.state in (3, 4)) as again) as decision)
      returning k.digest, k.task_id
    ), fresh as materialized (
      select * from input where digest is null or id in (select task_id from keyed)
    ), stored as (
      insert into millrace.task (id, kind, lane, max_attempts, payload, trace)
      select id, kind, lane, max_attempts, payload, trace from fresh
    ), made_ready as (
      insert into millrace.ready (lane, seq, id) select lane, nextval('millrace.ready_seq'), id from fresh order by ord
    )
    select ord, id, null::bytea, null::smallint, null::bytea, null::float8, false from fresh
    union all
    select null, k.task_id, k.digest, t.state, t.result, extract(epoch from now() - t.finished_at)::float8,
      exists (select from millrace.lease l where k.task_id = any(l.ids))
    from keyed k left join millrace.task t on t.id = k.task_id
    where k.task_id not in (select id from input)
    """)
}
