import Basics
import Glibc
import Reactor
import Testing

/// PostgreSQL goes away under load and comes back, or has no session left. Nobody does anything about it.
@Suite(.timeLimit(.minutes(15))) struct RestartTests {
  private static func restart(with signal: Int32, times: Int) async throws {
    try await Stage.run { stage, reactor in
      for name in ["first", "second"] { try await stage.worker(name, on: reactor) }
      try await stage.api(on: reactor)
      let load = Task.immediate(executorPreference: reactor.queue) {
        try await stage.clients.submit(600, on: reactor)
      }
      for round in 1...times {
        let count = stage.clients.acknowledged.count
        try await stage.within(60, "it is under load", on: reactor) { stage.clients.acknowledged.count > count + 50 }
        let former = try stage.server.currentId()
        kill(former, signal)
        try await stage.within(30, "it is started again, round \(round)", on: reactor) {
          try stage.server.currentId() != former
        }
      }
      try await load.value
      let told = stage.clients.statuses
      try stage.expect(told.keys.allSatisfy { [200, 202, 503].contains($0) }, "\(told)")
      try stage.expect(stage.clients.leftAlone == 0, "\(stage.clients.leftAlone) were not told when to come again")
      try await stage.allOver(within: 45, on: reactor)
      await stage.clients.lookAtAll(on: reactor)
    }
  }

  @Test func `I1 I2 I3 I4 PostgreSQL is stopped fast and started again under load`() async throws {
    try await Self.restart(with: SIGINT, times: 2)
  }

  @Test func `I1 I2 I3 I4 PostgreSQL is stopped at once and started again under load`() async throws {
    try await Self.restart(with: SIGQUIT, times: 2)
  }

  @Test func `I1 I2 I3 while PostgreSQL takes no more sessions clients are told so, and then all is done`()
    async throws
  {
    try await Stage.run(settings: ["max_connections=30"]) { stage, reactor in
      let worker = try await stage.worker("worker", on: reactor)
      try await stage.api(on: reactor)
      try await stage.clients.submit(50, on: reactor)
      // All of theirs are ended, and all places are taken before they come back.
      let theirs = "application_name in ('worker', 'api')"
      try await stage.within(30, "they have no session", on: reactor) {
        try await stage.run("select pg_terminate_backend(pid) from pg_stat_activity where \(theirs)", on: reactor)
        _ = await stage.takeAllSessions(on: reactor)
        return try await stage.number("select count(*) from pg_stat_activity where \(theirs)", on: reactor) == 0
      }
      let load = Task.immediate(executorPreference: reactor.queue) {
        try await stage.clients.submit(100, width: 4, on: reactor)
      }
      try await stage.within(60, "the worker is told so", on: reactor) { worker.output.contains("too many clients") }
      try await stage.within(60, "clients are told so", on: reactor) { stage.clients.statuses[503] ?? 0 > 4 }
      try stage.expect(stage.clients.acknowledged.count <= 50, "something was stored without a session")
      stage.giveSessionsBack(on: reactor)
      try await load.value
      try stage.expect(
        stage.clients.statuses.keys.allSatisfy { [200, 202, 503].contains($0) }, "\(stage.clients.statuses)")
      try await stage.allOver(within: 30, on: reactor)
      await stage.clients.lookAtAll(on: reactor)
    }
  }
}
