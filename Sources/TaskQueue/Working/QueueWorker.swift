import Postgres
public import Reactor
public import Telemetry

/// A worker's side of the queue: it claims and completes, says that it lives, takes over from the dead, and hears of
/// new tasks. It owns its connections: a few for statements, and the lifeline, which proves that it lives and listens.
public final class QueueWorker {
  let client: PostgresClient
  let lifeline: Lifeline
  let log: Logger
  let name: String
  var teller = Teller()

  /// A worker called `name`; `pool` has threads for what blocks.
  public init(
    _ configuration: QueueConfiguration, name: String, pool: ComputePool, log: Logger, metrics: Metrics
  ) {
    var postgres = configuration.postgres
    postgres.settings += QueueSchema.workerSettings
    postgres.schemaSteps = QueueSchema.migrations.count
    let helpers = PostgresConnection.Helpers(pool: pool)
    self.name = name
    self.log = log
    client = PostgresClient(postgres, helpers: helpers, log: log.named("postgres"), metrics: metrics)
    lifeline = Lifeline(postgres, name: name, helpers: helpers, log: log.named("lifeline"))
    width = configuration.width
  }

  private let width: Int

  /// The worker's id in the table, nil until it is registered.
  public var id: Int64? { lifeline.id }

  /// What it waits for: empty once it is registered and listens.
  public var missing: [String] { lifeline.missing }

  /// Begins to connect, and tells `listener` what it hears until `close`.
  public func start(_ listener: any QueueListener, on reactor: isolated Reactor) {
    client.start(width: width, on: reactor)
    Task.immediate(executorPreference: reactor.queue) { await lifeline.run(listener, on: reactor) }
  }

  /// Ends all connections.
  public func close(on reactor: isolated Reactor) {
    lifeline.stop(on: reactor)
    client.close(on: reactor)
  }

  /// Completes and claims in one transaction, which saves a commit a batch.
  /// - Parameters:
  ///   - completions: may be empty; all tasks of a lease at once.
  ///   - isRepeated: whether the same completions may have been stored before, by a turn whose answer was lost.
  ///   - wish: what to claim; nil claims nothing.
  /// - Throws: `QueueError`. When it is `unknown` whether it happened the fence makes it safe to complete again, and
  ///   what was claimed without being seen comes back when the lease is rescued.
  public func turn(
    completing completions: [Completion], isRepeated: Bool, claiming wish: ClaimWish?, on reactor: isolated Reactor
  ) async throws(QueueError) -> Turn {
    try await asQueue { () throws(PostgresError) in
      let connection = try await client.connection(on: reactor)
      guard isRepeated, !completions.isEmpty else {
        return try await turn(completions, wish, connection, on: reactor)
      }
      let (statement, parameters) = CompletionStatements.recognise(completions)
      let stored = try await connection.execute(statement, parameters, on: reactor)
      let known = Set((0..<stored.rowCount).map { stored.int64($0, 0) })
      var turn = try await turn(completions.filter { !known.contains($0.id) }, wish, connection, on: reactor)
      turn.accepted += known
      return turn
    }
  }

  private func turn(
    _ completions: [Completion], _ wish: ClaimWish?, _ connection: PostgresConnection, on reactor: isolated Reactor
  ) async throws(PostgresError) -> Turn {
    var turn = Turn()
    guard let id = lifeline.id else { throw PostgresError(.unavailable, "the worker is not registered") }
    var isAnnounced = wish?.announces == nil
    let announcement = wish.flatMap { wish in
      wish.announces.map { rows in
        PostgresConnection.Companion((ClaimStatements.announce, QueueWorker.parameters(id, wish.group, rows))) {
          if case .success = $0 { isAnnounced = true }
        }
      }
    }
    let completing = CompletionStatements.completeAll(completions)
    let claiming = wish.map { ClaimStatements.steps($0, worker: id) } ?? []
    let steps = completing + claiming
    guard !steps.isEmpty else { return turn }
    let results: [PostgresResult]
    do {
      results = try await connection.execute(steps, before: announcement, on: reactor)
    } catch  where !completions.isEmpty && !error.isTransient && !error.lacksMigration {
      // One of them is to blame, and must not hold up the others for ever.
      turn.accepted = try await completeOneByOne(completions, connection, on: reactor)
      turn.isAnnounced = false
      return turn
    }
    turn.isAnnounced = isAnnounced
    for result in results.prefix(completing.count) {
      for row in 0..<result.rowCount { turn.accepted.append(result.int64(row, 0)) }
    }
    guard let wish else { return turn }
    if ClaimStatements.gaveWay(claiming, results[completing.count...]) { turn.isAnnounced = false }
    ClaimStatements.read(results[results.count - 1], wish, into: &turn)
    // Nothing but tasks that are over already says nothing of what stands behind them.
    while let lease = turn.cancelled.first?.lease, turn.claimed.isEmpty {
      // A lease without a task would be completed by nobody.
      var parameters = PostgresParameters()
      parameters.add(lease)
      parameters.add(turn.cancelled.map(\.id))
      let release = (ClaimStatements.release, parameters)
      turn.cancelled = []
      let again = try await connection.execute([release] + claiming, on: reactor)
      if ClaimStatements.gaveWay(claiming, again[1...]) { turn.isAnnounced = false }
      ClaimStatements.read(again[again.count - 1], wish, into: &turn)
    }
    return turn
  }

  /// Completes some tasks of a lease that goes on with others, each in a transaction of its own: what is large need not
  /// be kept until all of its lease are done.
  /// - Returns: the tasks whose completion was accepted.
  /// - Throws: `QueueError`; some may have been completed then.
  public func completeEach(
    _ completions: [Completion], on reactor: isolated Reactor
  ) async throws(QueueError) -> [Int64] {
    try await asQueue { () throws(PostgresError) in
      try await completeOneByOne(completions, try await client.connection(on: reactor), on: reactor)
    }
  }

  private func completeOneByOne(
    _ completions: [Completion], _ connection: PostgresConnection, on reactor: isolated Reactor
  ) async throws(PostgresError) -> [Int64] {
    var accepted: [Int64] = []
    for completion in completions {
      var (statement, parameters) = CompletionStatements.completeOne(completion)
      var result: PostgresResult
      do {
        result = try await connection.execute(statement, parameters, on: reactor)
      } catch  where !error.isTransient {
        log.error(
          "PostgreSQL refuses a result; the task fails", [("task", "\(completion.id)"), ("reason", error.message)])
        let failure = Completion(
          id: completion.id, lease: completion.lease, outcome: .failed(error: "its result cannot be stored"))
        (statement, parameters) = CompletionStatements.completeOne(failure)
        result = try await connection.execute(statement, parameters, on: reactor)
        if result.rowCount > 0 { continue }
      }
      if result.rowCount > 0 { accepted.append(completion.id) }
    }
    return accepted
  }

  static func parameters(_ id: Int64, _ group: Int16, _ rows: WakeProtocol.Rows) -> PostgresParameters {
    var parameters = PostgresParameters()
    parameters.add(id)
    parameters.add(group)
    parameters.add(Int64(rows.upTo))
    parameters.add(Int64(rows.above))
    return parameters
  }
}
