public import Basics
import Postgres
public import Reactor
public import Telemetry

/// The side of the queue on which tasks are submitted and looked up. It owns its connections.
public final class QueueClient {
  let client: PostgresClient
  private let submitter: Submitter
  private let reader: TaskReader
  private let width: Int

  /// A client that connects as soon as `start` is called; `pool` has threads for what blocks, and a batch of
  /// submissions is held for a crowd for up to `holdMax`.
  public init(
    _ configuration: QueueConfiguration, pool: ComputePool, holdMax: TimeSpan = Limits.holdMax, log: Logger,
    metrics: Metrics
  ) {
    var postgres = configuration.postgres
    postgres.settings += QueueSchema.submitterSettings
    postgres.schemaSteps = QueueSchema.migrations.count
    client = PostgresClient(
      postgres, helpers: PostgresConnection.Helpers(pool: pool), log: log.named("postgres"), metrics: metrics)
    submitter = Submitter(client, holdMax: holdMax, log: log.named("queue"), metrics: metrics)
    reader = TaskReader(client)
    width = configuration.width
  }

  /// Begins to connect.
  public func start(on reactor: isolated Reactor) {
    client.start(width: width, on: reactor)
  }

  /// Ends all connections for good.
  public func close(on reactor: isolated Reactor) {
    client.close(on: reactor)
  }

  /// What it waits for, nil if it is connected.
  public var missing: String? { client.refusal.map { QueueError($0).waitsFor } }

  /// Whether the tables are those that this program knows, as far as it has seen.
  public var hasItsTables: Bool {
    guard let code = client.refusal.map({ QueueError($0).code }) else { return true }
    return code != .lacksSchema && code != .outgrown
  }

  /// Whether PostgreSQL had no room for tasks, or its disk failed, a short while before `now`, and it has stored none
  /// since.
  public func cannotWrite(at now: MonotonicTime) -> Bool {
    submitter.failedToWriteAt.map { now.since($0) < Limits.writeFailureLasts } ?? false
  }

  /// Queues `submission`, or finds the identical task; returns after the commit.
  /// - Throws: `QueueError`. When that is `unknown` the task may have been queued all the same.
  public func submit(_ submission: Submission, on reactor: isolated Reactor) async throws(QueueError) -> SubmitOutcome {
    do { return try await submitter.submit(submission, on: reactor) } catch { throw QueueError(error) }
  }

  /// The task called `id`, nil if there is none.
  /// - Throws: `QueueError`.
  public func task(_ id: Int64, on reactor: isolated Reactor) async throws(QueueError) -> TaskRecord? {
    do { return try await reader.task(id, on: reactor) } catch { throw QueueError(error) }
  }

  /// Ends the task called `id` unless it is over, whether it waits or runs; returns after the commit. Whoever runs it
  /// is told to stop.
  /// - Returns: whether it was not over.
  /// - Throws: `QueueError`. When that is `unknown` it may have been cancelled all the same.
  public func cancel(_ id: Int64, on reactor: isolated Reactor) async throws(QueueError) -> Bool {
    var parameters = PostgresParameters()
    parameters.add(id)
    return try await asQueue { () throws(PostgresError) in
      try await client.execute(
        QueueClient.cancelling, parameters, until: reactor.now + Limits.patience, on: reactor
      ).bool(0, 0)
    }
  }

  /// One page of tasks, newest first.
  ///
  /// The key is walked backwards with a bound on rows examined, so a filter that matches nothing costs no more than one
  /// that matches everything; the cursor then goes on from where the page ended.
  /// - Parameters:
  ///   - before: only ids below this one; nil from the newest.
  ///   - state: only tasks in this state. `running` and `queued` are told apart by the leases.
  ///   - kinds: only these kinds; nil for all.
  ///   - limit: rows wanted, cut to 1…`Limits.pageRowsMax`.
  /// - Returns: the tasks, and the id to pass as `before` for the next page, nil after the last.
  /// - Throws: `QueueError`.
  public func page(
    before: Int64?, state: TaskState?, kinds: [String]?, limit: Int, on reactor: isolated Reactor
  ) async throws(QueueError) -> (tasks: [TaskRecord], next: Int64?) {
    do {
      return try await reader.page(before: before, state: state, kinds: kinds, limit: limit, on: reactor)
    } catch {
      throw QueueError(error)
    }
  }

  /// How many workers have said lately that they live, and are not told to take no more tasks, if PostgreSQL tells by
  /// `deadline`.
  /// - Throws: `QueueError`.
  public func livingWorkers(
    until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async throws(QueueError) -> Int64 {
    do { return try await client.execute(QueueClient.living, until: deadline, on: reactor).int64(0, 0) } catch {
      throw QueueError(error)
    }
  }

  private static let cancelling = PostgresStatement("queue_cancel", "select millrace.cancel($1::bigint)")

  private static let living = PostgresStatement(
    "worker_count",
    """
    select count(*) from millrace.worker w left join millrace.worker_control c on c.worker_id = w.id
    where w.heartbeat_at > now() - interval '30 seconds' and not w.has_left and coalesce(c.wanted, w.wanted, 0) = 0
    """)
}
