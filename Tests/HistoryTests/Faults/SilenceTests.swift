import Basics
import Reactor
import Testing

/// Connections over which nothing comes any more, and of which nobody is told.
@Suite(.timeLimit(.minutes(15))) struct SilenceTests {
  /// A network that forgets a connection tells neither side. What is submitted then is found by the sweep that goes
  /// with a beat, and the worker finds out that it is deaf, and listens anew. Meanwhile PostgreSQL finds the session
  /// gone by its keepalives, which here, on a Unix socket, the relay plays.
  @Test func `I1 a worker whose notifications cease without a word finds tasks by looking, and listens anew`()
    async throws
  {
    try await Stage.run { stage, reactor in
      let relay = try stage.relay(on: reactor)
      let worker = try await stage.worker("worker", via: relay, on: reactor)
      try await stage.api(on: reactor)
      try await stage.clients.submit(50, on: reactor)
      try await stage.allOver(within: 30, on: reactor)
      // All slots sleep, and nothing but a notification would wake them.
      try await stage.within(30, "it sleeps", on: reactor) {
        try await stage.number("select count(*) from millrace.sleeper", on: reactor) >= 4
      }
      try stage.expect(relay.listenerCount == 1, "there are \(relay.listenerCount) listeners")
      relay.silenceListeners()
      let began = reactor.now
      try await stage.clients.submit(20, on: reactor)
      // A worker at rest beats every 15 s.
      try await stage.allOver(within: 30, on: reactor)
      await reactor.sleep(for: .seconds(max(0, 30 - reactor.now.since(began).seconds)))
      relay.heal(on: reactor)
      try await stage.within(60, "it listens again", on: reactor) { relay.listenerCount == 1 }
      try await stage.within(30, "it says so", on: reactor) { await worker.isReady(on: reactor) }
      try await stage.within(30, "it sleeps", on: reactor) {
        try await stage.number("select count(*) from millrace.sleeper", on: reactor) >= 4
      }
      let finds = await worker.metric("millrace_worker_safety_sweep_finds_total", on: reactor)
      try await stage.clients.submit(20, on: reactor)
      try await stage.allOver(within: 15, on: reactor)
      let later = await worker.metric("millrace_worker_safety_sweep_finds_total", on: reactor)
      try stage.expect(finds == later, "it hears again, and has found tasks by looking")
    }
  }

  /// Half-open for 20 s instead of 60: longer than any patience of this side, 15 s with a request and 5 with a
  /// connection, so nothing more comes after that but the same again.
  @Test func `I1 I2 I3 a PostgreSQL that says nothing any more is found again by everybody without a person`()
    async throws
  {
    try await Stage.run { stage, reactor in
      let relay = try stage.relay(on: reactor)
      let worker = try await stage.worker("worker", via: relay, on: reactor)
      let api = try await stage.api(via: relay, on: reactor)
      try await stage.clients.submit(100, on: reactor)
      let load = Task.immediate(executorPreference: reactor.queue) {
        try await stage.clients.submit(400, width: 4, within: 70, on: reactor)
      }
      try await stage.within(30, "they are busy", on: reactor) { stage.clients.acknowledged.count > 150 }
      relay.fallSilent()
      await reactor.sleep(for: .seconds(20 as UInt64))
      let before = stage.clients.acknowledged.count
      try stage.expect(before < 500, "the load was over before the silence")
      try stage.expect(
        stage.clients.statuses.keys.allSatisfy { [200, 202, 503].contains($0) }, "\(stage.clients.statuses)")
      relay.heal(on: reactor)
      try await load.value
      try await stage.allOver(within: 60, on: reactor)
      for program in [worker, api] {
        try await stage.within(30, "\(program.name) is ready again", on: reactor) { await program.isReady(on: reactor) }
      }
      await stage.clients.lookAtAll(on: reactor)
    }
  }
}
