import Basics
import Glibc
import Reactor
import Testing

@Suite(.timeLimit(.minutes(15))) struct StoppedWorkerTests {
  /// It takes three times the 30 seconds of a lease, in which it does nothing but wait.
  @Test func `I3 I4 what a worker brings after it was stopped for three leases changes nothing and is counted`()
    async throws
  {
    try await Stage.run(isIdle: true) { stage, reactor in
      let relay = try stage.relay(on: reactor)
      relay.hold("queue_complete")
      let stopped = try await stage.worker("stopped", via: relay, on: reactor)
      try await stage.api(on: reactor)
      try await stage.clients.submitTogether((0..<50).map { "late-\($0)" }, on: reactor)
      try await stage.clients.getToken(on: reactor)
      try await stage.clients.submitLong(6, seconds: 2, on: reactor)
      try await stage.within(30, "some are computed, and some are being computed", on: reactor) {
        let held = try await stage.number("select sum(cardinality(ids)) from millrace.lease", on: reactor)
        return held == 56 && relay.heldCount > 0
      }
      stopped.signal(SIGSTOP)
      let began = reactor.now
      try await stage.worker("other", on: reactor)
      // Its session stands, so it may live until a lease is over; what it held is then run one at a time.
      try await stage.allOver(within: 75, on: reactor)
      let held = reactor.now.since(began)
      try stage.expect(held >= .seconds(20.0), "taken over only after a lease, and not after \(held.seconds) s")
      let changes = try await stage.number("select count(*) from history.change where task is not null", on: reactor)
      await reactor.sleep(for: .seconds(max(0, 90 - held.seconds)))
      relay.letGo(on: reactor)
      stopped.signal(SIGCONT)
      // Of a task that is still being computed the worker may learn in time that nobody wants it of this one.
      try await stage.within(30, "all late completions are counted", on: reactor) {
        await stopped.metric("millrace_worker_stale_completions_total", on: reactor) ?? 0 >= 50
      }
      let changesNow = try await stage.number(
        "select count(*) from history.change where task is not null", on: reactor)
      try stage.expect(changesNow == changes, "late completions change nothing")
      // It goes on as one of two.
      try await stage.clients.submit(100, on: reactor)
      try await stage.allOver(within: 30, on: reactor)
      await stage.clients.lookAtAll(on: reactor)
    }
  }
}
