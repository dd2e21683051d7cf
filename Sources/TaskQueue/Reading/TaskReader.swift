import Basics
import Postgres
import Reactor

/// Reads tasks by id, all that are asked for while a read is under way in one statement, and lists them newest first.
///
/// Results may be large, and what PostgreSQL sends has to be held. So a statement brings the results that fit into a
/// bound, and tells which it has left out; and few are under way at once.
final class TaskReader: EventHandler {
  private typealias Waiter = UnsafeContinuation<Result<TaskRecord?, PostgresError>, Never>

  /// What a statement has brought.
  private struct Found {
    var records: [Int64: TaskRecord] = [:]
    /// Tasks that are there, but were left for the next statement.
    var leftOut: Set<Int64> = []
  }

  private let client: PostgresClient
  private let turnstile = Turnstile(width: Limits.readsAtOnce)
  /// Who waits for which task, and in which order they are read: what was left out comes first, lest a large result
  /// that is asked for again and again keep others out.
  private var open: [Int64: [Waiter]] = [:]
  private var line: [Int64] = []
  private var isReading = false
  private var isFlushQueued = false

  /// A reader over `client`.
  init(_ client: PostgresClient) {
    self.client = client
  }

  /// The task called `id`, nil if there is none.
  /// - Throws: `PostgresError`.
  func task(_ id: Int64, on reactor: isolated Reactor) async throws(PostgresError) -> TaskRecord? {
    if !isFlushQueued, !isReading {
      isFlushQueued = true
      reactor.flushBeforeSleep(self)
    }
    if open[id] == nil { line.append(id) }
    return try await withUnsafeContinuation { open[id, default: []].append($0) }.get()
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
    let ids = Array(line.prefix(Limits.readsPerBatch))
    line.removeFirst(ids.count)
    let asked = ids.map { open.removeValue(forKey: $0)! }
    do {
      let found = try await records(ids, until: reactor.now + Limits.patience, on: reactor)
      let leftOut = ids.filter(found.leftOut.contains)
      line = leftOut + line.filter { !found.leftOut.contains($0) }
      // All of them at once: to give takes turns, in which others ask.
      for (id, waiters) in zip(ids, asked) where found.leftOut.contains(id) { open[id, default: []] += waiters }
      for (id, waiters) in zip(ids, asked) where !found.leftOut.contains(id) {
        await give(found.records[id], to: waiters, on: reactor)
      }
    } catch {
      for waiter in asked.joined() { waiter.resume(returning: .failure(error)) }
      // Who came while this batch waited for a connection or an answer in vain has waited for the same.
      guard error.code == .unavailable || error.code == .deadline else { return }
      let others = open.values.joined()
      open.removeAll()
      line.removeAll()
      for waiter in others { waiter.resume(returning: .failure(error)) }
    }
  }

  /// Each who gets a large result makes an answer of it: one after the other, lest all hold theirs at once.
  private func give(_ record: TaskRecord?, to waiters: [Waiter], on reactor: isolated Reactor) async {
    let isLarge = (record?.result?.count ?? 0) >= Limits.largeResultBytes
    for waiter in waiters {
      waiter.resume(returning: .success(record))
      if isLarge { await reactor.sleep(for: TimeSpan(nanoseconds: 0)) }
    }
  }

  private func records(
    _ ids: [Int64], until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async throws(PostgresError) -> Found {
    guard await turnstile.enter(until: deadline, on: reactor) else {
      throw PostgresError(.unavailable, "too many results are read at once")
    }
    defer { turnstile.leave() }
    var found = Found()
    try await read(TaskReader.byIds, ids, into: &found, until: deadline, on: reactor)
    let missing = ids.filter { found.records[$0] == nil && !found.leftOut.contains($0) }
    if !missing.isEmpty { try await read(TaskReader.pastByIds, missing, into: &found, until: deadline, on: reactor) }
    return found
  }

  private func read(
    _ statement: PostgresStatement, _ ids: [Int64], into found: inout Found, until deadline: MonotonicTime,
    on reactor: isolated Reactor
  ) async throws(PostgresError) {
    var parameters = PostgresParameters()
    parameters.add(ids)
    parameters.add(Int64(Limits.readBytesMax))
    let result = try await client.execute(statement, parameters, until: deadline, on: reactor)
    for row in 0..<result.rowCount {
      let id = result.int64(row, 0)
      if result.bool(row, 12) { found.leftOut.insert(id) } else { found.records[id] = TaskReader.record(result, row) }
    }
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
    let deadline = reactor.now + Limits.patience
    let results = [
      try await client.execute(TaskReader.newest, parameters, until: deadline, on: reactor),
      try await client.execute(TaskReader.newestPast, parameters, until: deadline, on: reactor),
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
    let found = try await records(ids, until: deadline, on: reactor)
    // A page ends before the first result that was left out.
    if let cut = ids.firstIndex(where: found.leftOut.contains) {
      return (ids[..<cut].compactMap { found.records[$0] }, ids[cut] + 1)
    }
    return (ids.compactMap { found.records[$0] }, reachedOldest ? nil : last)
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
      progress: claimedAt == nil || result.isNull(row, 13) ? nil : result.double(row, 13),
      createdAt: Timestamp(microseconds: result.microseconds(row, 7) ?? 0),
      startedAt: (claimedAt ?? result.microseconds(row, 8)).map(Timestamp.init(microseconds:)),
      completedAt: result.microseconds(row, 9).map(Timestamp.init(microseconds:)))
  }

  /// The columns of a record from the rows `t`. Of the results, in the order of the ids in `$1`, those come that fit
  /// into `$2` bytes, and the first one in any case; their sizes are known without reading them. The last column but
  /// one tells what was left out.
  private static func columns(claimedAt: String, from rows: String) -> String {
    """
    select t.id, t.kind, t.lane, t.state, t.attempt,
      case when t.upto <= $2::bigint or t.upto = t.size then t.result end, t.error, t.created_at, t.started_at,
      t.finished_at, t.max_attempts, \(claimedAt), t.size > 0 and t.upto > $2::bigint and t.upto <> t.size,
      t.progress::float8
    from (
      select t.*, coalesce(octet_length(t.result), 0) as size,
        sum(coalesce(octet_length(t.result), 0)) over (
          order by array_position($1::bigint[], t.id) rows unbounded preceding) as upto
      from \(rows)
    ) t
    """
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
    \(columns(
      claimedAt: "case when t.state = 0 then (select max(r.claimed_at) from running r where r.id = t.id) end",
      from: "millrace.task t where t.id = any($1::bigint[])"))
    """)

  private static let pastByIds = PostgresStatement(
    "queue_read_past", columns(claimedAt: "null::timestamptz", from: "millrace.past($1::bigint[]) t"))

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
