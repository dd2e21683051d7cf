import Basics
import Glibc
import Reactor
import Testing

/// Workers that end as a machine does that loses its power.
///
/// What they held others take over within the time of a lease and a second: in truth much sooner, because the session
/// of a process that was killed is gone.
@Suite(.timeLimit(.minutes(15))) struct WorkerLossTests {
  /// The time of a lease as workers have it unless somebody says otherwise.
  private static let leaseSeconds = 30.0

  /// A worker that has claimed 50 tasks, computed them and told nobody yet.
  private func holder(_ stage: Stage, on reactor: isolated Reactor) async throws -> Program {
    let relay = try stage.relay(on: reactor)
    relay.hold("queue_complete")
    let worker = try await stage.worker("first", via: relay, on: reactor)
    try await stage.api(on: reactor)
    try await stage.clients.submitTogether((0..<50).map { "held-\($0)" }, on: reactor)
    try await stage.within(30, "all tasks are held and computed", on: reactor) {
      let held = try await stage.number("select coalesce(sum(cardinality(ids)), 0) from millrace.lease", on: reactor)
      return held == 50 && relay.heldCount > 0
    }
    return worker
  }

  @Test func `I1 I3 fifty tasks that a killed worker held are done once each by another`() async throws {
    try await Stage.run { stage, reactor in
      let worker = try await holder(stage, on: reactor)
      try await stage.worker("second", on: reactor)
      worker.kill()
      try await stage.allOver(within: Self.leaseSeconds + 1, on: reactor)
      let done = try await stage.number("select count(*) from millrace.task where attempt <= 2", on: reactor)
      try stage.expect(done == 50, "\(done) were done at the second attempt")
      await stage.clients.lookAtAll(on: reactor)
    }
  }

  @Test func `I1 I3 a killed worker that is alone does what it held itself when it is started again`() async throws {
    try await Stage.run { stage, reactor in
      let worker = try await holder(stage, on: reactor)
      worker.kill()
      try await stage.worker("again", called: "first", on: reactor)
      try await stage.allOver(within: Self.leaseSeconds + 1, on: reactor)
      await stage.clients.lookAtAll(on: reactor)
    }
  }

  /// The outage is one of 3 s instead of 30: it is over as soon as nothing is left that could change with time, for
  /// there is nobody who looks at a clock.
  @Test func `I1 I3 what was submitted and held while all workers were dead is done when they are back`() async throws {
    try await Stage.run { stage, reactor in
      try await stage.api(on: reactor)
      let relay = try stage.relay(on: reactor)
      let workers = [
        try await stage.worker("first", via: relay, on: reactor), try await stage.worker("second", on: reactor),
      ]
      let load = Task.immediate(executorPreference: reactor.queue) {
        try await stage.clients.submit(300, on: reactor)
      }
      try await stage.within(30, "some are done", on: reactor) { stage.clients.acknowledged.count > 100 }
      relay.hold("queue_complete")
      try await stage.within(30, "some are held", on: reactor) { relay.heldCount > 0 }
      for worker in workers { worker.kill() }
      try await load.value
      try await stage.clients.submit(100, on: reactor)
      await reactor.sleep(for: .seconds(3 as UInt64))
      for name in ["third", "fourth"] { try await stage.worker(name, on: reactor) }
      try await stage.allOver(within: Self.leaseSeconds + 1, on: reactor)
      await stage.clients.lookAtAll(on: reactor)
    }
  }

  @Test func `I3 I4 of two workers with one name each is one of its own, and one that dies takes nothing with it`()
    async throws
  {
    try await Stage.run { stage, reactor in
      try await stage.api(on: reactor)
      let first = try await stage.worker("one", called: "twin", on: reactor)
      let second = try await stage.worker("two", called: "twin", on: reactor)
      let twins = try await stage.number("select count(*) from millrace.worker where name = 'twin'", on: reactor)
      try stage.expect(twins == 2, "there are \(twins) workers")
      try await stage.clients.submit(200, on: reactor)
      first.kill()
      try await stage.clients.submit(200, on: reactor)
      try await stage.allOver(within: Self.leaseSeconds + 1, on: reactor)
      let late = await second.metric("millrace_worker_stale_completions_total", on: reactor)
      try stage.expect(late == 0, "completions of the other were refused")
      await stage.clients.lookAtAll(on: reactor)
    }
  }
}
