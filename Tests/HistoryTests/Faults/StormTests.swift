import Basics
import Glibc
import Reactor
import Testing

/// Everything that the other tests break alone, one after the other and into each other, as a seed says.
@Suite(.timeLimit(.minutes(15))) struct StormTests {
  private enum Fault: CaseIterable {
    case killWorker, killAPI, endWorker, endAPI, stopWorker
    case loseSubmission, loseCompletion, loseClaim, silence
    case restartFast, restartAtOnce, endSessions
  }

  /// What the storm goes over.
  private struct Field {
    let front: Relay
    let back: Relay
    var worker: Program
    var api: Program
    var number = 1
  }

  private func strike(
    _ fault: Fault, _ field: inout Field, _ random: inout SeededRandom, _ stage: Stage, on reactor: isolated Reactor
  ) async throws {
    switch fault {
    case .killWorker, .endWorker:
      if fault == .endWorker { try await end(field.worker, stage, on: reactor) }
      field.worker.kill()
      field.number += 1
      field.worker = try await stage.worker("worker-\(field.number)", via: field.back, on: reactor)
    case .killAPI, .endAPI:
      if fault == .endAPI { try await end(field.api, stage, on: reactor) }
      field.api.kill()
      field.number += 1
      field.api = try await stage.api("api-\(field.number)", via: field.front, on: reactor)
    case .stopWorker:
      field.worker.signal(SIGSTOP)
      await reactor.sleep(for: .milliseconds(UInt64.random(in: 100...2500, using: &random)))
      field.worker.signal(SIGCONT)
    case .loseSubmission: field.front.loseAnswers(to: "queue_submit", count: 1)
    case .loseCompletion: field.back.loseAnswers(to: "queue_complete", count: 1)
    case .loseClaim: field.back.loseAnswers(to: "queue_claim", count: 1)
    case .restartFast: kill(try stage.server.currentId(), SIGINT)
    case .restartAtOnce: kill(try stage.server.currentId(), SIGQUIT)
    case .silence:
      let relay = Bool.random(using: &random) ? field.front : field.back
      relay.fallSilent()
      await reactor.sleep(for: .milliseconds(UInt64.random(in: 100...1500, using: &random)))
      relay.heal(on: reactor)
    case .endSessions:
      try? await stage.run(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name ~ '^(api|worker)'", on: reactor)
    }
  }

  /// Asks it to end, and gives it the time that it takes to give back what it holds.
  private func end(_ program: Program, _ stage: Stage, on reactor: isolated Reactor) async throws {
    program.signal(SIGTERM)
    try await stage.within(40, "\(program.name) has ended", on: reactor) { program.hasEnded }
  }

  @Test func `I1 I2 I3 I4 I5 a storm of faults under load leaves every promise as it was`() async throws {
    try await Stage.run { stage, reactor in
      var random = stage.random
      stage.clients.areFickle = true
      let (front, back) = (try stage.relay(on: reactor), try stage.relay(on: reactor))
      try await stage.worker("steady", on: reactor)
      var field = Field(
        front: front, back: back, worker: try await stage.worker("worker-1", via: back, on: reactor),
        api: try await stage.api("api-1", via: front, on: reactor))
      try await stage.clients.getToken(on: reactor)
      let load = Task.immediate(executorPreference: reactor.queue) {
        while !stage.clients.haveEnough { try await stage.clients.submit(200, width: 6, within: 90, on: reactor) }
      }
      for _ in 0..<10 {
        let fault = Fault.allCases.randomElement(using: &random)!
        stage.note("\(fault)")
        try await strike(fault, &field, &random, stage, on: reactor)
        await reactor.sleep(for: .milliseconds(UInt64.random(in: 0...700, using: &random)))
      }
      stage.clients.haveEnough = true
      try await load.value
      try await stage.allOver(within: 90, on: reactor)
      let kinds = try await stage.texts(
        "select kind || ' ' || state from millrace.task group by kind, state having count(*) > 2", on: reactor)
      for kind in ["md5 2", "longtask 2"] {
        try stage.expect(kinds.contains(kind), "there are \(kinds), and not \(kind)")
      }
      await stage.clients.lookAtAll(on: reactor)
    }
  }
}
