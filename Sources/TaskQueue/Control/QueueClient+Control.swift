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

  /// Gives an order for all tasks of `kind`, and tells all workers of it; returns after the commit.
  /// - Throws: `QueueError`.
  public func order(
    _ kind: String, _ order: QueueOrders.Kind, on reactor: isolated Reactor
  ) async throws(QueueError) {
    var parameters = PostgresParameters()
    parameters.add(text: kind)
    parameters.add(Int16(order.isPaused ? 1 : 0))
    parameters.add(Int64(order.runningMax ?? -1))
    try await asQueue { () throws(PostgresError) in
      _ = try await client.execute(QueueClient.ordering, parameters, on: reactor)
    }
  }

  /// Tells the workers `ids` what is wanted of them; returns those that there are, after the commit.
  /// - Throws: `QueueError`.
  public func order(
    workers ids: [Int64], _ wanted: QueueOrders.Wanted, on reactor: isolated Reactor
  ) async throws(QueueError) -> [Int64] {
    var parameters = PostgresParameters()
    parameters.add(ids)
    parameters.add(wanted.rawValue)
    return try await numbers(QueueClient.orderingWorkers, parameters, on: reactor)
  }

  /// Begins tasks anew that have failed or were cancelled; returns those that were begun, after the commit. Nothing can
  /// be begun whose input is gone, as that of secret kinds, or that is among the oldest.
  /// - Throws: `QueueError`.
  public func retry(_ ids: [Int64], on reactor: isolated Reactor) async throws(QueueError) -> [Int64] {
    var parameters = PostgresParameters()
    parameters.add(ids)
    return try await numbers(QueueClient.retrying, parameters, on: reactor)
  }

  /// Some tasks that are over for at least so many seconds, those after `id` in their order; of `state` only, if that
  /// is given. An empty list: there are no more.
  /// - Throws: `QueueError`.
  public func ended(
    after id: Int64, state: TaskState?, forSeconds seconds: Double, on reactor: isolated Reactor
  ) async throws(QueueError) -> [Int64] {
    var parameters = PostgresParameters()
    parameters.add(id)
    parameters.add(state?.rawValue ?? 0)
    parameters.add(seconds)
    return try await numbers(QueueClient.listingEnded, parameters, on: reactor)
  }

  /// Forgets tasks that are over; returns those that were.
  /// - Throws: `QueueError`.
  public func purge(_ ids: [Int64], on reactor: isolated Reactor) async throws(QueueError) -> [Int64] {
    var parameters = PostgresParameters()
    parameters.add(ids)
    return try await numbers(QueueClient.purging, parameters, on: reactor)
  }

  private func numbers(
    _ statement: PostgresStatement, _ parameters: PostgresParameters, on reactor: isolated Reactor
  ) async throws(QueueError) -> [Int64] {
    try await asQueue { () throws(PostgresError) in
      let result = try await client.execute(statement, parameters, on: reactor)
      return (0..<result.rowCount).map { result.int64($0, 0) }
    }
  }

  /// An order that changes nothing is none.
  private static let ordering = PostgresStatement(
    "queue_order",
    """
    with gone as (
      delete from millrace.kind_control where kind = $1::text and $2::smallint = 0 and $3::bigint < 0
    ), given as (
      insert into millrace.kind_control (kind, is_paused, running_max)
      select $1::text, $2::smallint = 1, nullif($3::bigint, -1) where $2::smallint = 1 or $3::bigint >= 0
      on conflict (kind) do update set is_paused = excluded.is_paused, running_max = excluded.running_max
    )
    select pg_notify('millrace_ready', 'orders')
    """)

  private static let orderingWorkers = PostgresStatement(
    "queue_order_workers",
    """
    with told as (
      update millrace.worker set wanted = $2::smallint
      where id in (select unnest($1::bigint[])) and not has_left returning id
    )
    select id from told, lateral (select pg_notify('millrace_worker_' || id, 'orders')) n
    """)

  private static let retrying = PostgresStatement("queue_retry", "select millrace.retry($1::bigint[])")

  private static let listingEnded = PostgresStatement(
    "queue_ended",
    """
    select id from millrace.task
    where id > $1::bigint and state >= 2 and ($2::smallint = 0 or state = $2::smallint)
      and finished_at <= now() - make_interval(secs => $3::float8)
    order by id limit 500
    """)

  private static let purging = PostgresStatement(
    "queue_purge",
    "delete from millrace.task where id in (select unnest($1::bigint[])) and state >= 2 returning id")
}
