public import Basics
import Postgres
public import Reactor
public import Telemetry

/// What is in a queue at a moment, for people and their gauges.
public struct QueueStats: Sendable {
  /// Tasks of one lane that may be claimed.
  public struct Depth: Sendable {
    /// The line that they stand in.
    public let line: Int16
    /// How urgent they are; nil for those whose worker was lost, of which a worker runs one at a time.
    public let priority: Priority?
    /// How many there are.
    public let tasks: Int64
    /// How long ago the one was submitted that is at the front, in seconds.
    public let oldestSeconds: Double
  }

  /// A worker and the tasks that it holds.
  public struct Worker: Sendable {
    /// Its number.
    public let id: Int64
    /// Its name.
    public let name: String
    /// When it was started.
    public let startedAt: Timestamp
    /// How long ago it has said that it lives, in seconds.
    public let silentSeconds: Double
    /// What is wanted of it.
    public let wanted: QueueOrders.Wanted
    /// How many slots of a class may claim, of those that claim one task at a time; nil for all.
    public let slotsMax: Int64?
    /// The tasks that it holds; of many only the first.
    public let tasks: [Int64]
    /// How many it holds.
    public let taskCount: Int64
  }

  /// Lanes in which tasks wait.
  public let depths: [Depth]
  /// Tasks that are to be run later, or tried again.
  public let scheduled: Int64
  /// The number of the newest task.
  public let newest: Int64
  /// Of the newest completed tasks, a thousand at the most: how many there are, and how long they waited and ran on
  /// average, in seconds.
  public let completed: (tasks: Int64, waitSeconds: Double, runSeconds: Double)
  /// The workers that have not left, by name.
  public let workers: [Worker]
  /// Kinds for which there is an order, by name.
  public let orders: [String: QueueOrders.Kind]

  /// Tasks that may be claimed.
  public var ready: Int64 { depths.reduce(0) { $0 + $1.tasks } }

  /// Asks the queue, over a connection of its own.
  /// - Throws: `QueueError`.
  public static func read(
    _ configuration: QueueConfiguration, pool: ComputePool, log: Logger, on reactor: isolated Reactor
  ) async throws(QueueError) -> QueueStats {
    try await asQueue { () throws(PostgresError) in
      let connection = try await PostgresConnection.connectPatiently(
        configuration.postgres, helpers: PostgresConnection.Helpers(pool: pool), log: log, on: reactor)
      defer { connection.close(on: reactor) }
      return try await read(connection, on: reactor)
    }
  }

  static func read(
    _ connection: PostgresConnection, on reactor: isolated Reactor
  ) async throws(PostgresError) -> QueueStats {
    let statements = [depthStatement, totalsStatement, workersStatement, QueueOrders.statement]
    var nobody = PostgresParameters()
    nobody.add(0 as Int64)
    let steps = statements.map { ($0, $0.name == QueueOrders.statement.name ? nobody : PostgresParameters()) }
    let deadline = reactor.now + Limits.statsPatience
    let results = try await connection.execute(steps, until: deadline, on: reactor)
    let (depths, totals, workers) = (results[0], results[1], results[2])
    return QueueStats(
      depths: (0..<depths.rowCount).map { row in
        let number = depths.int16(row, 0)
        return Depth(
          line: Lane(number: number).line, priority: Priority(rawValue: number % 8), tasks: depths.int64(row, 1),
          oldestSeconds: depths.isNull(row, 2) ? 0 : max(0, depths.double(row, 2)))
      },
      scheduled: totals.int64(0, 0), newest: totals.int64(0, 1),
      completed: (totals.int64(0, 2), totals.double(0, 3), totals.double(0, 4)),
      workers: (0..<workers.rowCount).map { row in
        Worker(
          id: workers.int64(row, 0), name: workers.text(row, 1) ?? "",
          startedAt: Timestamp(microseconds: workers.microseconds(row, 2) ?? 0), silentSeconds: workers.double(row, 3),
          wanted: QueueOrders.Wanted(rawValue: workers.int16(row, 4)) ?? .run,
          slotsMax: workers.isNull(row, 7) ? nil : workers.int64(row, 7),
          tasks: (workers.text(row, 5) ?? "").split(separator: ",").compactMap { Int64($0) },
          taskCount: workers.int64(row, 6))
      }, orders: QueueOrders.read(results[3]).kinds)
  }

  private static let depthStatement = PostgresStatement(
    "queue_depth",
    """
    select d.lane, d.tasks, extract(epoch from now() - t.created_at)::float8
    from (
      select lane, sum(cardinality(ids))::bigint as tasks, min(seq) as first from millrace.ready_batch group by lane
    ) d
      join millrace.ready_batch r on r.lane = d.lane and r.seq = d.first
      left join lateral (select created_at from millrace.task t where t.id = r.ids[1] offset 0) t on true
    order by d.lane
    """)

  private static let totalsStatement = PostgresStatement(
    "queue_totals",
    """
    select (select count(*) from millrace.scheduled),
      (select case when is_called then last_value else 0 end from millrace.task_id), count(*),
      coalesce(avg(extract(epoch from started_at - created_at)), 0)::float8,
      coalesce(avg(extract(epoch from finished_at - started_at)), 0)::float8
    from (
      select created_at, started_at, finished_at
      from (select * from millrace.task order by id desc limit \(Limits.rowsExaminedPerPage)) newest
      where state = 2 limit 1000) t
    """)

  private static let workersStatement = PostgresStatement(
    "queue_workers",
    """
    select w.id, w.name, w.started_at, greatest(0, extract(epoch from now() - w.heartbeat_at))::float8,
      coalesce(c.wanted, w.wanted),
      (select string_agg(h.id::text, ',') from (
        select u.id from millrace.lease l cross join unnest(l.ids) as u (id) where l.worker_id = w.id limit 8) h),
      coalesce((select sum(cardinality(l.ids)) from millrace.lease l where l.worker_id = w.id), 0)::bigint,
      c.slots_max::bigint
    from millrace.worker w left join millrace.worker_control c on c.worker_id = w.id
    where not w.has_left order by w.name, w.id
    """)
}
