import Postgres
public import Reactor

extension QueueWorker {
  /// Takes idle rows of `group` away.
  /// - Throws: `QueueError`.
  public func withdraw(
    group: Int16, _ rows: WakeProtocol.Rows, on reactor: isolated Reactor
  ) async throws(QueueError) {
    guard let id else { return }
    let parameters = QueueWorker.parameters(id, group, rows)
    try await asQueue { () throws(PostgresError) in
      _ = try await client.execute(ClaimStatements.withdraw, parameters, on: reactor)
    }
  }

  /// Tells up to `workers` sleeping workers that `tasks` tasks wait for `group`.
  /// - Throws: `QueueError`.
  public func tell(
    group: Int16, tasks: Int, workers: Int, on reactor: isolated Reactor
  ) async throws(QueueError) {
    let words = [Teller.Word(group: group, tasks: tasks, workers: workers)]
    let (statement, parameters) = teller.step(words, at: reactor.now)
    do {
      teller.said(words, try await client.execute(statement, parameters, on: reactor), at: reactor.now)
    } catch {
      teller.failed()
      throw QueueError(error)
    }
  }

  /// What people want at present.
  /// - Throws: `QueueError`.
  public func orders(on reactor: isolated Reactor) async throws(QueueError) -> QueueOrders {
    var parameters = PostgresParameters()
    parameters.add(id ?? 0)
    return try await asQueue { () throws(PostgresError) in
      QueueOrders.read(try await client.execute(QueueOrders.statement, parameters, on: reactor))
    }
  }

  /// Stores how much of each task is done, from 0 to 1; nil for what is to be left as it is.
  /// - Returns: the tasks that are still wanted: the others are over, or their lease was taken away.
  /// - Throws: `QueueError`.
  public func store(
    progress: [(id: Int64, lease: Int64, share: Double?)], on reactor: isolated Reactor
  ) async throws(QueueError) -> Set<Int64> {
    var parameters = PostgresParameters()
    parameters.add(progress.map(\.id))
    parameters.add(progress.map(\.lease))
    parameters.add(progress.map { $0.share ?? -1 })
    return try await asQueue { () throws(PostgresError) in
      let result = try await client.execute(ClaimStatements.progress, parameters, on: reactor)
      return Set((0..<result.rowCount).map { result.int64($0, 0) })
    }
  }

  /// Gives back tasks that were claimed and not begun, without counting an attempt, and tells others of them.
  /// - Throws: `QueueError`; a lease that could not be given back is rescued later.
  public func release(lease: Int64, ids: [Int64], on reactor: isolated Reactor) async throws(QueueError) {
    var parameters = PostgresParameters()
    parameters.add(lease)
    parameters.add(ids)
    try await asQueue { () throws(PostgresError) in
      _ = try await client.execute(ClaimStatements.release, parameters, on: reactor)
    }
  }
}
