import Basics
import Reactor
import Roles
import TaskQueue

/// What keeps a task that is submitted now from being stored, and what from being run soon: without a worker it is safe
/// in the queue, and this process does its work. PostgreSQL is asked once for all who want to know at the same time,
/// and gets a bounded time to answer; only a good answer is remembered, for whoever waits for the first worker should
/// see it at once.
final class Readiness {
  private let queue: QueueClient
  private var wellAt: MonotonicTime?
  private var isLooking = false
  private var waiters: [UnsafeContinuation<RoleState, Never>] = []

  init(_ queue: QueueClient) {
    self.queue = queue
  }

  /// What is missing; nothing if all is there.
  func state(on reactor: isolated Reactor) async -> RoleState {
    if let missing = queue.missing { return RoleState(missing: [missing]) }
    if queue.cannotWrite(at: reactor.now) { return RoleState(missing: ["PostgreSQL, which cannot write"]) }
    if let wellAt, reactor.now.since(wellAt) < Limits.readinessKept { return RoleState() }
    if isLooking { return await withUnsafeContinuation { waiters.append($0) } }
    isLooking = true
    let state = await look(on: reactor)
    isLooking = false
    wellAt = state.missing.isEmpty && state.degraded.isEmpty ? reactor.now : nil
    for waiter in waiters { waiter.resume(returning: state) }
    waiters.removeAll()
    return state
  }

  private func look(on reactor: isolated Reactor) async -> RoleState {
    do {
      let workers = try await queue.livingWorkers(until: reactor.now + Limits.readinessPatience, on: reactor)
      return RoleState(degraded: workers > 0 ? [] : ["a worker"])
    } catch {
      return RoleState(missing: [error.waitsFor])
    }
  }
}
