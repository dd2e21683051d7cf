import Basics
import Postgres
import Reactor

/// Reads tasks by id, all that are asked for while a read is under way in one statement, and lists them newest first.
final class TaskReader: EventHandler {
  private final class Lookup {
    var outcome: Result<TaskRecord?, PostgresError>?
    var waiters: [UnsafeContinuation<Void, Never>] = []
  }

  private let client: PostgresClient
  private var open: [Int64: Lookup] = [:]
  private var isReading = false
  private var isFlushQueued = false

  /// A reader over `client`.
  init(_ client: PostgresClient) {
    self.client = client
  }

  /// The task called `id`, nil if there is none.
  /// - Throws: `PostgresError`.
  func task(_ id: Int64, on reactor: isolated Reactor) async throws(PostgresError) -> TaskRecord? {
    let lookup = open[id] ?? Lookup()
    open[id] = lookup
    if !isFlushQueued, !isReading {
      isFlushQueued = true
      reactor.flushBeforeSleep(self)
    }
    await withUnsafeContinuation { lookup.waiters.append($0) }
    return try lookup.outcome!.get()
  }

  /// The turn is over: what it asked for is read.
  override func flush(on reactor: isolated Reactor) {
    isFlushQueued = false
    guard !isReading, !open.isEmpty else { return }
    isReading = true
    Task.immediate(executorPreference: reactor.queue) {
      while !self.open.isEmpty { await self.readBatch(on: reactor) }
      self.isReading = false
    }
  }

  private func readBatch(on reactor: isolated Reactor) async {
    let ids = Array(open.keys.prefix(Limits.readsPerBatch))
    var lookups = ids.map { open.removeValue(forKey: $0)! }
    do {
      let found = try await records(ids, on: reactor)
      for (id, lookup) in zip(ids, lookups) { lookup.outcome = .success(found[id]) }
    } catch {
      // Who came while this batch waited for a connection in vain has waited for the same one.
      if error.code == .unavailable {
        lookups += open.values
        open.removeAll()
      }
      for lookup in lookups { lookup.outcome = .failure(error) }
    }
    for lookup in lookups {
      for waiter in lookup.waiters { waiter.resume() }
    }
  }

  private func records(
    _ ids: [Int64], on reactor: isolated Reactor
  ) async throws(PostgresError) -> [Int64: TaskRecord] {
    var parameters = PostgresParameters()
    parameters.add(ids)
    let result = try await client.execute(TaskReader.byIds, parameters, on: reactor)
    var found: [Int64: TaskRecord] = [:]
    for row in 0..<result.rowCount { found[result.int64(row, 0)] = TaskReader.record(result, row) }
    let missing = ids.filter { found[$0] == nil }
    guard !missing.isEmpty else { return found }
    var past = PostgresParameters()
    past.add(missing)
    let old = try await client.execute(TaskReader.pastByIds, past, on: reactor)
    for row in 0..<old.rowCount { found[old.int64(row, 0)] = TaskReader.record(old, row) }
    return found
  }

  /// One page of tasks, newest first; see `QueueClient.page`. The past comes after what is not past.
  func page(
    before: Int64?, state: TaskState?, kinds: [String]?, limit: Int, on reactor: isolated Reactor
  ) async throws(PostgresError) -> (tasks: [TaskRecord], next: Int64?) {
    let wanted = min(max(1, limit), Limits.pageRowsMax)
    let isFiltered = state != nil || kinds != nil
    let examinedMax = isFiltered ? Limits.rowsExaminedPerPage : wanted
    var parameters = PostgresParameters()
    parameters.add(before ?? Int64.max)
    parameters.add(Int64(examinedMax))
    let results = [
      try await client.execute(TaskReader.newest, parameters, on: reactor),
      try await client.execute(TaskReader.newestPast, parameters, on: reactor),
    ]
    // A partition that is kept from moving has newer ones in the past: only together are the rows in order.
    var rows: [(id: Int64, result: Int, row: Int)] = []
    for (index, result) in results.enumerated() {
      for row in 0..<result.rowCount { rows.append((result.int64(row, 0), index, row)) }
    }
    rows.sort { $0.id > $1.id }
    var ids: [Int64] = []
    var last: Int64?
    for (id, index, row) in rows.prefix(examinedMax) where ids.count < wanted {
      let result = results[index]
      last = id
      let effective: TaskState = result.bool(row, 3) ? .running : TaskState(rawValue: result.int16(row, 2)) ?? .queued
      if let state, state != effective { continue }
      if let kinds, !kinds.contains(result.text(row, 1) ?? "") { continue }
      ids.append(id)
    }
    let examined = rows.count
    let reachedOldest = ids.count < wanted && examined < examinedMax
    let found = try await records(ids, on: reactor)
    return (ids.compactMap { found[$0] }, reachedOldest ? nil : last)
  }

  private static func record(_ result: PostgresResult, _ row: Int) -> TaskRecord {
    let stored = TaskState(rawValue: result.int16(row, 3)) ?? .queued
    let claimedAt = stored == .queued ? result.microseconds(row, 11) : nil
    return TaskRecord(
      id: result.int64(row, 0), kind: result.text(row, 1) ?? "",
      priority: Lane.priority(ofNumber: result.int16(row, 2)),
      state: claimedAt == nil ? stored : .running,
      attempts: Int(result.int16(row, 4)) + (claimedAt == nil ? 0 : 1),
      result: result.bytes(row, 5), error: result.text(row, 6),
      createdAt: Timestamp(microseconds: result.microseconds(row, 7) ?? 0),
      startedAt: (claimedAt ?? result.microseconds(row, 8)).map(Timestamp.init(microseconds:)),
      completedAt: result.microseconds(row, 9).map(Timestamp.init(microseconds:)))
  }

  /// A task is running while its id stands in a lease and it is not waiting for its next attempt. The leases, one row a
  /// batch, are unpacked once a statement: to look into each of them for each task would unpack them again and again.
  static let byIds = PostgresStatement(
    "queue_read",
    """
    with running as materialized (
      select r.id, l.claimed_at from millrace.lease l cross join unnest(l.ids) as r (id)
      where r.id in (select unnest($1::bigint[])) and not exists (select from millrace.scheduled s where s.id = r.id)
    )
    select t.id, t.kind, t.lane, t.state, t.attempt, t.result, t.error, t.created_at, t.started_at, t.finished_at,
      t.max_attempts, case when t.state = 0 then (select max(r.claimed_at) from running r where r.id = t.id) end
    from millrace.task t where t.id = any($1::bigint[])
    """)

  private static let pastByIds = PostgresStatement(
    "queue_read_past",
    """
    select t.id, t.kind, t.lane, t.state, t.attempt, t.result, t.error, t.created_at, t.started_at, t.finished_at,
      t.max_attempts, null::timestamptz
    from millrace.past($1::bigint[]) t
    """)

  private static let newest = PostgresStatement(
    "queue_newest",
    """
    with running as materialized (
      select r.id from millrace.lease l cross join unnest(l.ids) as r (id)
      where not exists (select from millrace.scheduled s where s.id = r.id)
    )
    select t.id, t.kind, t.state, t.state = 0 and t.id in (select id from running)
    from millrace.task t where t.id < $1::bigint order by t.id desc limit $2::bigint
    """)

  private static let newestPast = PostgresStatement(
    "queue_newest_past",
    """
    select t.id, t.kind, t.state, false from millrace.task_past t where t.id < $1::bigint
    order by t.id desc limit $2::bigint
    """)
}
