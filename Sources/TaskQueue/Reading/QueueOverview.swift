import Basics
import Postgres
public import Reactor
public import Telemetry

/// What is in a queue at a moment, for a person.
public struct QueueOverview: Sendable {
  /// A worker and the tasks that it holds.
  public struct Worker: Sendable {
    /// Its name.
    public let name: String
    /// How many it holds.
    public let tasks: Int64
  }

  /// Tasks that may be claimed.
  public let ready: Int64
  /// Tasks that are tried again later.
  public let scheduled: Int64
  /// The workers that have not left, by name.
  public let workers: [Worker]

  /// Asks the queue, over a connection of its own.
  /// - Throws: `QueueError`.
  public static func read(
    _ configuration: QueueConfiguration, pool: ComputePool, log: Logger, on reactor: isolated Reactor
  ) async throws(QueueError) -> QueueOverview {
    let result = try await asQueue { () throws(PostgresError) in
      let connection = try await PostgresConnection.connectPatiently(
        configuration.postgres, helpers: PostgresConnection.Helpers(pool: pool), log: log, on: reactor)
      defer { connection.close(on: reactor) }
      return try await connection.execute(
        statement, until: reactor.now + Limits.overviewPatience, on: reactor)
    }
    let rows = 0..<result.rowCount
    return QueueOverview(
      ready: result.int64(0, 0), scheduled: result.int64(0, 1),
      workers: rows.compactMap { row in
        result.text(row, 2).map { Worker(name: $0, tasks: result.int64(row, 3)) }
      })
  }

  private static let statement = PostgresStatement(
    "queue_overview",
    """
    select c.ready, c.scheduled, w.name, w.tasks
    from (select (select count(*) from millrace.ready) as ready,
        (select count(*) from millrace.scheduled) as scheduled) c
      left join (
        select w.name, coalesce(sum(cardinality(l.ids)), 0)::bigint as tasks
        from millrace.worker w left join millrace.lease l on l.worker_id = w.id
        where not w.has_left group by w.name) w on true
    order by w.name
    """)
}
