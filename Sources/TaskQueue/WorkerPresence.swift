public import Postgres
public import Reactor

/// A worker process's place in the tables, and the session that proves it alive: the advisory lock is held on the
/// connection that listens, so that a killed process is known within milliseconds and without any clock.
public struct WorkerPresence: Sendable {
  /// The worker's id, given by the table.
  public let id: Int64
  /// The worker's name in the table.
  public let name: String
  static let lockClass: Int32 = 1_296_649_047

  /// What a heartbeat found and did.
  public struct Report: Sendable {
    /// Tasks taken over from dead workers.
    public let rescued: Int64
    /// Tasks whose time had come.
    public let promoted: Int64
    /// Seconds until the next scheduled task, nil if none waits.
    public let nextDueSeconds: Double?
    /// The tasks that have waited longest in lanes of groups that sleep: there should soon be none.
    public let waiting: [WaitingTask]
  }

  /// A task that waits to be claimed.
  public struct WaitingTask: Equatable, Sendable {
    /// The group of slots that run it.
    public let group: Int16
    let lane: Int16
    let seq: Int64
  }

  /// Registers a worker called `name`, takes its lock and begins to listen; `connection` must be its own.
  /// - Throws: `PostgresError`.
  public static func register(
    name: String, connection: PostgresConnection, on reactor: isolated Reactor
  ) async throws(PostgresError) -> WorkerPresence {
    var parameters = PostgresParameters()
    parameters.add(text: name)
    let id = try await connection.execute(
      PostgresStatement("worker_register", "insert into millrace.worker (name) values ($1::text) returning id"),
      parameters, on: reactor
    ).int64(0, 0)
    let presence = WorkerPresence(id: id, name: name)
    try await presence.resume(on: connection, on: reactor)
    return presence
  }

  /// Takes the lock and listens again on a new connection.
  /// LISTEN comes before the sweep that the caller does next, so that nothing is missed between the two.
  /// - Throws: `PostgresError`.
  public func resume(on connection: PostgresConnection, on reactor: isolated Reactor) async throws(PostgresError) {
    _ = try await connection.execute(
      PostgresStatement(
        "worker_lock", "select pg_advisory_lock(\(WorkerPresence.lockClass), \(id % Int64(Int32.max)))"), on: reactor)
    _ = try await connection.execute(PostgresStatement("worker_listen", "listen millrace_ready"), on: reactor)
    _ = try await connection.execute(
      PostgresStatement("worker_listen_own", "listen millrace_worker_\(id)"), on: reactor)
  }

  /// Says that the worker lives, and looks after the queue; see `millrace.heartbeat`.
  /// - Parameters:
  ///   - held: the leases this worker knows of; others in its name come from lost answers and are given up.
  ///   - idleGroups: groups whose slots sleep; their idle rows are put back if others took this worker for stopped.
  ///   - leaseSeconds: silence after which a worker whose session still stands counts as dead.
  ///   - settledSeconds: how long this worker's own session must have stood before it may take others for dead.
  ///   - selfTest: also sends a notification to this worker, which proves that listening works.
  /// - Throws: `PostgresError`.
  public func heartbeat(
    held: [Int64], idleGroups: [Int16], leaseSeconds: Double, settledSeconds: Double, selfTest: Bool,
    _ client: PostgresClient,
    on reactor: isolated Reactor
  ) async throws(PostgresError) -> Report {
    var parameters = PostgresParameters()
    parameters.add(id)
    parameters.add(text: name)
    parameters.add(held)
    parameters.add(idleGroups)
    parameters.add(leaseSeconds)
    parameters.add(settledSeconds)
    parameters.add(Int16(selfTest ? 1 : 0))
    let result = try await client.execute(WorkerPresence.heartbeatStatement, parameters, on: reactor)
    let lanes = (result.text(0, 3) ?? "").split(separator: ",").compactMap { Int16($0) }
    let seqs = (result.text(0, 4) ?? "").split(separator: ",").compactMap { Int64($0) }
    return Report(
      rescued: result.int64(0, 0), promoted: result.int64(0, 1),
      nextDueSeconds: result.isNull(0, 2) ? nil : result.double(0, 2),
      waiting: zip(lanes, seqs).map { WaitingTask(group: $0 / 8, lane: $0, seq: $1) })
  }

  /// Which of `tasks` nobody has claimed yet.
  /// - Throws: `PostgresError`.
  public static func stillWaiting(
    _ tasks: [WaitingTask], _ client: PostgresClient, on reactor: isolated Reactor
  ) async throws(PostgresError) -> [WaitingTask] {
    var parameters = PostgresParameters()
    parameters.add(tasks.map(\.lane))
    parameters.add(tasks.map(\.seq))
    let result = try await client.execute(
      PostgresStatement(
        "worker_still_waiting",
        """
        select r.seq from unnest($1::smallint[], $2::bigint[]) as u (lane, seq)
        join millrace.ready r on r.lane = u.lane and r.seq = u.seq
        """), parameters, on: reactor)
    let found = Set((0..<result.rowCount).map { result.int64($0, 0) })
    return tasks.filter { found.contains($0.seq) }
  }

  /// Leaves: the row goes, and with it the place among the sleepers.
  /// - Throws: `PostgresError`.
  public func leave(_ client: PostgresClient, on reactor: isolated Reactor) async throws(PostgresError) {
    var parameters = PostgresParameters()
    parameters.add(id)
    _ = try await client.execute(
      PostgresStatement(
        "worker_leave",
        """
        with gone as (delete from millrace.worker where id = $1::bigint)
        delete from millrace.idle_worker where worker_id = $1::bigint
        """), parameters, on: reactor)
  }

  /// How many workers have said lately that they live.
  /// - Throws: `PostgresError`.
  public static func countLiving(
    _ client: PostgresClient, on reactor: isolated Reactor
  ) async throws(PostgresError) -> Int64 {
    try await client.execute(
      PostgresStatement(
        "worker_count", "select count(*) from millrace.worker where heartbeat_at > now() - interval '30 seconds'"),
      on: reactor
    ).int64(0, 0)
  }

  private static let heartbeatStatement = PostgresStatement(
    "worker_heartbeat",
    """
    select rescued, promoted, next_due, array_to_string(ready_lanes, ','),
      array_to_string(ready_seqs, ',')
    from millrace.heartbeat($1::bigint, $2::text, $3::bigint[], $4::smallint[], $5::float8,
      $6::float8, $7::smallint = 1)
    """)
}
