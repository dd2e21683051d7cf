import Basics
import Postgres
public import Reactor

extension QueueClient {
  /// What is in the queue.
  /// - Throws: `QueueError`.
  public func stats(on reactor: isolated Reactor) async throws(QueueError) -> QueueStats {
    try await asQueue { () throws(PostgresError) in
      try await QueueStats.read(
        try await client.connection(until: reactor.now + Limits.statsPatience, on: reactor), on: reactor)
    }
  }

  /// Pauses all tasks of `kind`, or has them run again, and tells all workers of it; returns after the commit.
  /// - Returns: what holds for the kind from then on.
  /// - Throws: `QueueError`.
  public func pause(
    _ kind: String, _ isPaused: Bool, on reactor: isolated Reactor
  ) async throws(QueueError) -> QueueOrders.Kind {
    try await order(QueueClient.pausing, kind, isPaused ? 1 : 0, on: reactor)
  }

  /// Lets at most `runningMax` tasks of `kind` run at once, nil for as many as there are slots, and tells all workers;
  /// returns after the commit.
  /// - Returns: what holds for the kind from then on.
  /// - Throws: `QueueError`.
  public func limit(
    _ kind: String, to runningMax: Int32?, on reactor: isolated Reactor
  ) async throws(QueueError) -> QueueOrders.Kind {
    try await order(QueueClient.limiting, kind, Int64(runningMax ?? -1), on: reactor)
  }

  private func order(
    _ statement: PostgresStatement, _ kind: String, _ value: Int64, on reactor: isolated Reactor
  ) async throws(QueueError) -> QueueOrders.Kind {
    var parameters = PostgresParameters()
    parameters.add(text: kind)
    parameters.add(value)
    return try await asQueue { () throws(PostgresError) in
      let result = try await client.execute(statement, parameters, on: reactor)
      let most = result.isNull(0, 1) ? nil : Int32(truncatingIfNeeded: result.int64(0, 1))
      return QueueOrders.Kind(isPaused: result.bool(0, 0), runningMax: most)
    }
  }

  /// Tells the workers `ids` what is wanted of them; returns those that there are, after the commit.
  /// - Throws: `QueueError`.
  public func order(
    workers ids: [Int64], _ wanted: QueueOrders.Wanted, on reactor: isolated Reactor
  ) async throws(QueueError) -> [Int64] {
    var parameters = PostgresParameters()
    parameters.add(ids)
    parameters.add(Int64(wanted.rawValue))
    return try await numbers(QueueClient.orderingWorkers, parameters, on: reactor)
  }

  /// Lets only `slotsMax` slots of each class claim in the workers `ids`, of those that claim one task at a time, nil
  /// for all; returns those workers that there are, after the commit.
  /// - Throws: `QueueError`.
  public func limit(
    workers ids: [Int64], to slotsMax: Int32?, on reactor: isolated Reactor
  ) async throws(QueueError) -> [Int64] {
    var parameters = PostgresParameters()
    parameters.add(ids)
    parameters.add(Int64(slotsMax ?? -1))
    return try await numbers(QueueClient.limitingWorkers, parameters, on: reactor)
  }

  /// Begins tasks anew that have failed or were cancelled; returns those that were begun, after the commit. Nothing can
  /// be begun whose input is gone, as that of secret kinds, or that is among the oldest.
  /// - Throws: `QueueError`.
  public func retry(_ ids: [Int64], on reactor: isolated Reactor) async throws(QueueError) -> [Int64] {
    var parameters = PostgresParameters()
    parameters.add(ids)
    return try await numbers(QueueClient.retrying, parameters, on: reactor)
  }

  /// Some tasks that are over for at least so many seconds, of those after `id` in their order; of `state` only, if
  /// that is given. However few there are, a bounded number of tasks is looked at.
  /// - Parameter isPast: whether it looks among those of old partitions, to which nothing happens any more.
  /// - Returns: the tasks, and the one that was looked at last; nil if there are no more.
  /// - Throws: `QueueError`.
  public func ended(
    after id: Int64, isPast: Bool, state: TaskState?, forSeconds seconds: Double, on reactor: isolated Reactor
  ) async throws(QueueError) -> (ids: [Int64], last: Int64?) {
    var parameters = PostgresParameters()
    parameters.add(id)
    parameters.add(state?.rawValue ?? 0)
    parameters.add(seconds)
    let statement = isPast ? QueueClient.listingEndedPast : QueueClient.listingEnded
    return try await asQueue { () throws(PostgresError) in
      let result = try await client.execute(statement, parameters, on: reactor)
      let last = result.isNull(0, 1) ? nil : result.int64(0, 1)
      return ((result.text(0, 0) ?? "").split(separator: ",").compactMap { Int64($0) }, last)
    }
  }

  /// Forgets tasks that are over; returns those that were, after the commit. What is among the live ones has not left
  /// a place in line then.
  /// - Throws: `QueueError`.
  public func purge(_ ids: [Int64], isPast: Bool, on reactor: isolated Reactor) async throws(QueueError) -> [Int64] {
    var parameters = PostgresParameters()
    parameters.add(ids)
    return try await numbers(isPast ? QueueClient.purgingPast : QueueClient.purging, parameters, on: reactor)
  }

  private func numbers(
    _ statement: PostgresStatement, _ parameters: PostgresParameters, on reactor: isolated Reactor
  ) async throws(QueueError) -> [Int64] {
    try await asQueue { () throws(PostgresError) in
      let result = try await client.execute(statement, parameters, on: reactor)
      return (0..<result.rowCount).map { result.int64($0, 0) }
    }
  }

  private static func ordering(_ name: String, _ column: String, _ value: String) -> PostgresStatement {
    PostgresStatement(
      name,
      """
      with given as (
        insert into millrace.kind_control as k (kind, \(column)) values ($1::text, \(value))
        on conflict (kind) do update set \(column) = excluded.\(column)
        returning is_paused, running_max
      )
      select is_paused, running_max::bigint, pg_notify('millrace_ready', 'orders') from given
      """)
  }

  private static let pausing = ordering("queue_pause", "is_paused", "$2::bigint = 1")
  private static let limiting = ordering("queue_limit", "running_max", "nullif($2::bigint, -1)::integer")

  /// `also` is what has to be written besides, of the workers that are `meant`.
  private static func orderingWorkers(
    _ name: String, _ column: String, _ value: String, also: String = ""
  ) -> PostgresStatement {
    PostgresStatement(
      name,
      """
      with meant as materialized (
        select id from millrace.worker where id in (select unnest($1::bigint[])) and not has_left
      ), told as (
        insert into millrace.worker_control as c (worker_id, \(column)) select id, \(value) from meant
        on conflict (worker_id) do update set \(column) = excluded.\(column), given_at = now()
        returning worker_id
      )\(also)
      select worker_id from told, lateral (select pg_notify('millrace_worker_' || worker_id, 'orders')) n
      """)
  }

  /// Programs of before look into the worker's row.
  private static let orderingWorkers = orderingWorkers(
    "queue_order_workers", "wanted", "$2::bigint::smallint",
    also: ", before as (update millrace.worker set wanted = $2::bigint::smallint where id in (select id from meant))")
  private static let limitingWorkers = orderingWorkers(
    "queue_limit_workers", "slots_max", "nullif($2::bigint, -1)::integer")

  private static let retrying = PostgresStatement("queue_retry", "select millrace.retry($1::bigint[])")

  private static func listingEnded(_ name: String, in table: String) -> PostgresStatement {
    PostgresStatement(
      name,
      """
      with looked as materialized (
        select id, state, finished_at from millrace.\(table) where id > $1::bigint
        order by id limit \(Limits.rowsExaminedPerPage)
      )
      select string_agg(id::text, ',' order by id) filter (where state >= 2
          and ($2::smallint = 0 or state = $2::smallint) and finished_at <= now() - make_interval(secs => $3::float8)),
        max(id)
      from looked
      """)
  }

  private static let listingEnded = listingEnded("queue_ended", in: "task")
  private static let listingEndedPast = listingEnded("queue_ended_past", in: "task_past")

  private static func purging(_ name: String, in table: String) -> PostgresStatement {
    PostgresStatement(
      name, "delete from millrace.\(table) where id in (select unnest($1::bigint[])) and state >= 2 returning id")
  }

  private static let purging = purging("queue_purge", in: "task")
  private static let purgingPast = purging("queue_purge_past", in: "task_past")
}
