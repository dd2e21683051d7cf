import Basics
import Postgres
import Reactor
import Telemetry

/// Sends submissions to PostgreSQL in the batches that `BatchPolicy` decides on. Identical submissions that meet here
/// become one row.
final class Submitter: EventHandler {
  private final class Pending {
    let submission: Submission
    var outcome: Result<SubmitOutcome, PostgresError>?
    var waiters: [UnsafeContinuation<Void, Never>] = []
    init(_ submission: Submission) { self.submission = submission }
  }

  private let client: PostgresClient
  private let log: Logger
  private var policy: BatchPolicy
  private var open: [Pending] = []
  private var byKey: [TaskKey: Pending] = [:]
  private var bytesWaiting = 0
  private var isFlushQueued = false
  private var teller = Teller()
  /// When PostgreSQL last had no room for tasks, or its disk failed; nil once it has stored some since.
  private(set) var failedToWriteAt: MonotonicTime?
  private lazy var holdTimer = ReactorTimer(self)
  private let batches: Counter
  private let rows: Counter

  /// A submitter over `client` that holds a batch for a crowd for up to `holdMax`.
  init(_ client: PostgresClient, holdMax: TimeSpan = Limits.holdMax, log: Logger, metrics: Metrics) {
    self.client = client
    self.log = log
    policy = BatchPolicy(holdMax: holdMax)
    batches = metrics.counter("millrace_queue_submit_batches_total", "Statements that submitted tasks.")
    rows = metrics.counter("millrace_queue_submitted_tasks_total", "Tasks sent to PostgreSQL to be queued.")
  }

  /// Queues `submission`, or finds the identical task; returns after the commit.
  /// - Throws: `PostgresError`. After `connectionLost` or `deadline` the task may have been queued all the same.
  func submit(_ submission: Submission, on reactor: isolated Reactor) async throws(PostgresError) -> SubmitOutcome {
    let pending: Pending
    // What stands for something else only stands once it is stored.
    while let key = submission.key, let same = byKey[key], same.submission.fingerprint != submission.fingerprint {
      await withUnsafeContinuation { same.waiters.append($0) }
      if case .success = same.outcome { return .conflict }
    }
    if let key = submission.key, let same = byKey[key] {
      pending = same
    } else {
      guard open.count < Limits.submissionsWaitingMax, bytesWaiting < Limits.bytesWaitingMax else {
        throw PostgresError(.overloaded, "\(open.count) submissions of \(bytesWaiting) bytes are waiting")
      }
      pending = Pending(submission)
      bytesWaiting += submission.payload.count
      open.append(pending)
      if let key = submission.key { byKey[key] = pending }
      if !isFlushQueued {
        isFlushQueued = true
        reactor.flushBeforeSleep(self)
      }
    }
    await withUnsafeContinuation { pending.waiters.append($0) }
    return try pending.outcome!.get()
  }

  /// The turn is over: what it brought may leave.
  override func flush(on reactor: isolated Reactor) {
    isFlushQueued = false
    sendBatches(on: reactor)
  }

  /// Enough was held.
  override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
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
    let deadline = reactor.now + Limits.patience
    do throws(PostgresError) {
      let connection = try await client.connection(until: deadline, on: reactor)
      try await insert(batch, connection, until: deadline, on: reactor)
      failedToWriteAt = nil
      var left = batch.filter { $0.outcome == nil }
      var rounds = 0
      while !left.isEmpty {
        guard rounds < Limits.findRounds else {
          throw PostgresError(.overloaded, "identical tasks come and go too fast to be found")
        }
        rounds += 1
        let stale = try await find(left, connection, until: deadline, on: reactor)
        if !stale.isEmpty { try await replace(stale, connection, until: deadline, on: reactor) }
        left = left.filter { $0.outcome == nil }
      }
    } catch {
      if error.isOfDisk { failedToWriteAt = reactor.now }
      let failed = batch.filter { $0.outcome == nil }
      for pending in failed { pending.outcome = .failure(error) }
      // Where there is no connection or no answer those behind have waited in vain as well; a wait of their own would
      // only be added. They at least were not sent.
      let behind = error.code == .unavailable || error.code == .deadline ? takeAll() : []
      for pending in behind { pending.outcome = .failure(PostgresError(.unavailable, error.message)) }
      log.warning(
        "submissions failed", [("tasks", "\(failed.count + behind.count)"), ("reason", error.description)])
      finish(failed + behind)
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
      if let key = pending.submission.key { byKey[key] = nil }
      for waiter in pending.waiters { waiter.resume() }
      pending.waiters.removeAll()
    }
  }

  /// Stores what is new, and wakes workers in the same flight.
  private func insert(
    _ batch: [Pending], _ connection: PostgresConnection, until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async throws(PostgresError) {
    let step = SubmitStatements.submit(batch.map(\.submission))
    let result = try await store(step, of: batch, connection, until: deadline, on: reactor)
    for row in 0..<result.rowCount {
      batch[Int(result.int64(row, 0)) - 1].outcome = .success(.queued(id: result.int64(row, 1)))
    }
  }

  /// Runs `step` and right behind it, in a transaction of its own, tells workers of the tasks: after the commit, for a
  /// NOTIFY takes a lock that all committing transactions share, and yet not a round trip later.
  private func store(
    _ step: (PostgresStatement, PostgresParameters), of batch: [Pending], _ connection: PostgresConnection,
    until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async throws(PostgresError) -> PostgresResult {
    // What has a time goes the way of what is scheduled, also if that time is over.
    let words = SubmitStatements.words(batch.map(\.submission).filter { $0.runAt == nil })
    let companion = PostgresConnection.Companion(teller.step(words, at: reactor.now)) { outcome in
      switch outcome {
      case .success(let result): self.teller.said(words, result, at: reactor.now)
      case .failure: self.tellLater(words, on: reactor)
      }
    }
    let result: PostgresResult
    do {
      result = try await connection.execute([step], behind: companion, until: deadline, on: reactor)[0]
    } catch  where error.code == .server(sqlstate: "23514") {
      // No partition takes the new rows: no worker was there to make one. Make it and try once more.
      _ = try await connection.execute(SubmitStatements.makePartitions, until: deadline, on: reactor)
      result = try await connection.execute([step], behind: companion, until: deadline, on: reactor)[0]
    }
    if batch.contains(where: { $0.submission.runAt != nil }) {
      // How far away they are PostgreSQL's clock tells.
      let dues = (0..<result.rowCount).compactMap { result.isNull($0, 2) ? nil : result.double($0, 2) }
      if let due = dues.min() { tellWhenDue(.seconds(max(0, due) + 0.001), on: reactor) }
    }
    return result
  }

  /// Workers set their clocks. Of what is due later than their next beat they hear with that; should this fail, of what
  /// is due earlier as well.
  private func tellWhenDue(_ span: TimeSpan, on reactor: isolated Reactor) {
    if span >= Limits.dueToldMax { return }
    Task.immediate(executorPreference: reactor.queue) {
      let (statement, parameters) = SubmitStatements.due(inMilliseconds: span.milliseconds)
      do {
        _ = try await client.execute(statement, parameters, on: reactor)
      } catch {
        log.debug("telling workers of scheduled tasks failed", [("reason", "\(error)")])
      }
    }
  }

  /// The tasks may have been stored all the same: somebody has to be told.
  private func tellLater(_ words: [Teller.Word], on reactor: isolated Reactor) {
    Task.immediate(executorPreference: reactor.queue) {
      for _ in 0..<Limits.tellTries {
        teller.failed()
        await reactor.sleep(for: Limits.tellPause)
        do {
          let (statement, parameters) = teller.step(words, at: reactor.now)
          teller.said(words, try await client.execute(statement, parameters, on: reactor), at: reactor.now)
          return
        } catch {
          log.debug("telling workers of tasks failed", [("reason", "\(error)")])
        }
      }
    }
  }

  /// Looks identical tasks up and gives their submissions the outcome; returns those whose task is over without a
  /// result or forgotten, with its id, to be begun anew.
  private func find(
    _ batch: [Pending], _ connection: PostgresConnection, until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async throws(PostgresError) -> [(pending: Pending, stale: Int64)] {
    let found = try await connection.execute(
      [SubmitStatements.find(batch.map(\.submission))], until: deadline, on: reactor)[0]
    var stale: [(pending: Pending, stale: Int64)] = []
    var old: [Int64: Pending] = [:]
    for row in 0..<found.rowCount {
      let pending = batch[Int(found.int64(row, 0)) - 1]
      if found.isNull(row, 1) {
        stale.append((pending, 0))
        continue
      }
      let id = found.int64(row, 1)
      if found.bool(row, 6) {
        pending.outcome = .success(.conflict)
      } else if found.isNull(row, 2) {
        old[id] = pending
      } else if let outcome = Submitter.outcome(of: pending.submission, found, row, id) {
        pending.outcome = .success(outcome)
      } else {
        stale.append((pending, id))
      }
    }
    if old.isEmpty { return stale }
    // What is not among the tasks that something may still happen to is long over, or was dropped.
    let past = try await connection.execute(
      [SubmitStatements.findPast(Array(old.keys))], until: deadline, on: reactor)[0]
    for row in 0..<past.rowCount {
      let id = past.int64(row, 1)
      guard let pending = old[id], let outcome = Submitter.outcome(of: pending.submission, past, row, id) else {
        continue
      }
      pending.outcome = .success(outcome)
      old[id] = nil
    }
    return stale + old.map { ($0.value, $0.key) }
  }

  /// The outcome that the row of a task gives, nil if it is over without a result and a client has not named it.
  private static func outcome(
    of submission: Submission, _ result: PostgresResult, _ row: Int, _ id: Int64
  ) -> SubmitOutcome? {
    let state = TaskState(rawValue: result.int16(row, 2))
    if submission.fingerprint != nil, let state, state.isTerminal { return .underWay(id: id, state: state) }
    switch state {
    case .completed:
      guard let stored = result.bytes(row, 3) else { return nil }
      return .completed(id: id, result: stored, ageSeconds: max(0, result.double(row, 4)))
    case .queued: return .underWay(id: id, state: result.bool(row, 5) ? .running : .queued)
    default: return nil
    }
  }

  /// Queues submissions anew, unless somebody else has done so since.
  private func replace(
    _ stale: [(pending: Pending, stale: Int64)], _ connection: PostgresConnection, until deadline: MonotonicTime,
    on reactor: isolated Reactor
  ) async throws(PostgresError) {
    let batch = stale.map(\.pending)
    let step = SubmitStatements.replace(batch.map(\.submission), stale: stale.map(\.stale))
    let result = try await store(step, of: batch, connection, until: deadline, on: reactor)
    for row in 0..<result.rowCount {
      batch[Int(result.int64(row, 0)) - 1].outcome = .success(.queued(id: result.int64(row, 1)))
    }
  }
}
