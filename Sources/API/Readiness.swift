import Basics
import Reactor
import TaskQueue

/// What keeps a task that is submitted now from being stored and run. PostgreSQL is asked once for all who want to know
/// at the same time, and gets a bounded time to answer; only a good answer is remembered, for whoever waits for the
/// first worker should see it at once.
final class Readiness {
  private let queue: QueueClient
  private var wellAt: MonotonicTime?
  private var isLooking = false
  private var waiters: [UnsafeContinuation<[String], Never>] = []

  init(_ queue: QueueClient) {
    self.queue = queue
  }

  /// What is missing; nothing if all is there.
  func missing(on reactor: isolated Reactor) async -> [String] {
    if !queue.isConnected { return ["PostgreSQL"] }
    if queue.cannotWrite(at: reactor.now) { return ["PostgreSQL, which cannot write"] }
    if let wellAt, reactor.now.since(wellAt) < Limits.readinessKept { return [] }
    if isLooking { return await withUnsafeContinuation { waiters.append($0) } }
    isLooking = true
    let missing = await look(on: reactor)
    isLooking = false
    wellAt = missing.isEmpty ? reactor.now : nil
    for waiter in waiters { waiter.resume(returning: missing) }
    waiters.removeAll()
    return missing
  }

  private func look(on reactor: isolated Reactor) async -> [String] {
    do {
      let workers = try await queue.livingWorkers(until: reactor.now + Limits.readinessPatience, on: reactor)
      return workers > 0 ? [] : ["a worker"]
    } catch {
      return [error.code == .lacksSchema ? "the schema" : "PostgreSQL"]
    }
  }
}
