import Postgres
public import Reactor

extension QueueWorker {
  /// Takes the idle row of `group` away if its number is not above `number`.
  /// - Throws: `QueueError`.
  public func withdraw(group: Int16, upTo number: Int, on reactor: isolated Reactor) async throws(QueueError) {
    guard let id else { return }
    let parameters = QueueWorker.row(id, group, number)
    try await asQueue { () throws(PostgresError) in
      _ = try await client.execute(ClaimStatements.withdraw, parameters, on: reactor)
    }
  }

  /// Tells up to `workers` sleeping workers that `tasks` tasks wait for `group`.
  /// - Throws: `QueueError`.
  public func tell(
    group: Int16, tasks: Int, workers: Int, on reactor: isolated Reactor
  ) async throws(QueueError) {
    var parameters = PostgresParameters()
    parameters.add([group])
    parameters.add([Int64(tasks)])
    parameters.add([Int64(workers)])
    try await asQueue { () throws(PostgresError) in
      _ = try await client.execute(ClaimStatements.tell, parameters, on: reactor)
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
