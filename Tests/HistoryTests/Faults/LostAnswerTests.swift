import Basics
import HTTP
import Reactor
import Testing

/// What PostgreSQL has committed and nobody was told of, because the connection or the process was gone by then.
@Suite(.timeLimit(.minutes(15))) struct LostAnswerTests {
  @Test func `I2 I3 completions whose answers are lost are told again and count once`() async throws {
    try await Stage.run { stage, reactor in
      let relay = try stage.relay(on: reactor)
      let worker = try await stage.worker("worker", via: relay, on: reactor)
      try await stage.api(on: reactor)
      for round in 0..<5 {
        relay.loseAnswers(to: "queue_complete", count: 1)
        try await stage.clients.submitTogether((0..<20).map { "\(round)-\($0)" }, on: reactor)
        try await stage.within(30, "an answer is lost", on: reactor) { relay.answersLost == round + 1 }
        try await stage.allOver(within: 30, on: reactor)
      }
      // The worker has learned that they were accepted.
      try await stage.within(30, "all completions are counted", on: reactor) {
        await worker.metric("millrace_worker_completed_tasks_total", on: reactor) == 100
      }
      let late = await worker.metric("millrace_worker_stale_completions_total", on: reactor)
      try stage.expect(late == 0, "its own completions were refused")
      await stage.clients.lookAtAll(on: reactor)
    }
  }

  @Test func `I2 I3 a worker that dies between the commit of its results and the answer leaves nothing to do twice`()
    async throws
  {
    try await Stage.run { stage, reactor in
      let relay = try stage.relay(on: reactor)
      let worker = try await stage.worker("worker", via: relay, on: reactor)
      try await stage.api(on: reactor)
      relay.loseAnswers(to: "queue_complete", count: 1) { worker.kill() }
      try await stage.clients.submitTogether((0..<50).map { "done-\($0)" }, on: reactor)
      try await stage.within(30, "it is dead", on: reactor) { relay.answersLost == 1 }
      let done = try await stage.number("select count(*) from millrace.task where state = 2", on: reactor)
      try stage.expect(done > 0, "nothing was committed")
      try await stage.worker("again", on: reactor)
      try await stage.allOver(within: 31, on: reactor)
      let attempts = try await stage.number("select count(*) from millrace.task where attempt = 1", on: reactor)
      try stage.expect(attempts >= done, "what was done was done again")
      await stage.clients.lookAtAll(on: reactor)
    }
  }

  /// Nobody knows of what was claimed: the worker that lives finds the lease in its own name when its time is over.
  @Test func `I1 I3 tasks of a claim whose answer is lost are done when the lease is over`() async throws {
    try await Stage.run { stage, reactor in
      let relay = try stage.relay(on: reactor)
      try await stage.worker("worker", via: relay, on: reactor)
      try await stage.api(on: reactor)
      relay.loseAnswers(to: "queue_claim", count: 1)
      try await stage.clients.submitTogether((0..<20).map { "unseen-\($0)" }, on: reactor)
      try await stage.within(30, "a claim is lost", on: reactor) { relay.answersLost == 1 }
      let held = try await stage.number("select count(*) from millrace.lease", on: reactor)
      // Another claim may have brought others of these tasks.
      try stage.expect(held >= 1, "nothing was claimed")
      // A lease lasts 30 s, and a beat comes for it as soon as it is over; nothing of it was begun before.
      try await stage.allOver(within: 60, on: reactor)
      let longest = try await stage.number(
        "select extract(epoch from max(finished_at - created_at))::bigint from millrace.task where attempt = 1",
        on: reactor)
      try stage.expect(longest >= 30, "nothing has waited for a lease: the longest took \(longest) s")
      let again = try await stage.number("select count(*) from millrace.task where attempt <> 1", on: reactor)
      try stage.expect(again == 0, "\(again) tasks have lost an attempt")
      await stage.clients.lookAtAll(on: reactor)
    }
  }

  @Test func `I1 I3 a submission whose answer is lost is the same task when it is sent again`() async throws {
    try await Stage.run { stage, reactor in
      let relay = try stage.relay(on: reactor)
      try await stage.worker("worker", on: reactor)
      try await stage.api(via: relay, on: reactor)
      let client = HTTPClient()
      for number in 0..<10 {
        relay.loseAnswers(to: "queue_submit", count: 1)
        let request = HTTPClientRequest(
          .post, "/hash/sha256", fields: [("Idempotency-Key", "key-\(number)")],
          body: Array("{\"string\":\"lost-\(number)\"}".utf8))
        let isAcknowledged = await stage.clients.ask(request, "lost-\(number)", client, on: reactor)
        try stage.expect(!isAcknowledged && relay.answersLost == number + 1, "the answer was not lost")
        let before = try await stage.number("select count(*) from millrace.task", on: reactor)
        try stage.expect(before == number + 1, "\(before) tasks are stored after \(number + 1)")
        try await stage.within(30, "it is acknowledged when it is sent again", on: reactor) {
          await stage.clients.ask(request, "lost-\(number)", client, on: reactor)
        }
      }
      client.closeIdle(on: reactor)
      let told = stage.clients.statuses
      try stage.expect(told[503, default: 0] >= 10 && told[202] == 10, "\(told)")
      try await stage.allOver(within: 30, on: reactor)
      await stage.clients.lookAtAll(on: reactor)
    }
  }

  @Test func `I1 I3 a submission whose API dies before it could answer is the same task for another API`() async throws
  {
    try await Stage.run { stage, reactor in
      let relay = try stage.relay(on: reactor)
      try await stage.worker("worker", on: reactor)
      let api = try await stage.api(via: relay, on: reactor)
      let client = HTTPClient()
      let request = HTTPClientRequest(
        .post, "/hash/sha256", fields: [("Idempotency-Key", "mine")], body: Array(#"{"string":"lost"}"#.utf8))
      relay.loseAnswers(to: "queue_submit", count: 1) { api.kill() }
      let isAcknowledged = await stage.clients.ask(request, "lost", client, on: reactor)
      try stage.expect(!isAcknowledged && stage.clients.statuses[0] == 1, "\(stage.clients.statuses)")
      // It is done although nobody was told that it was taken.
      try await stage.within(30, "it is done", on: reactor) {
        try await stage.number("select count(*) from millrace.task where state = 2", on: reactor) == 1
      }
      try await stage.api("api-2", on: reactor)
      let isFound = await stage.clients.ask(request, "lost", client, on: reactor)
      try stage.expect(isFound, "\(stage.clients.statuses)")
      client.closeIdle(on: reactor)
      await stage.clients.lookAtAll(on: reactor)
    }
  }

  @Test func `I1 I2 I3 under load now and then an answer is lost on every side`() async throws {
    try await Stage.run { stage, reactor in
      let (front, back) = (try stage.relay(on: reactor), try stage.relay(on: reactor))
      try await stage.worker("first", via: back, on: reactor)
      try await stage.worker("second", on: reactor)
      try await stage.api(via: front, on: reactor)
      for _ in 0..<6 {
        front.loseAnswers(to: "queue_submit", count: 1)
        back.loseAnswers(to: "queue_complete", count: 1)
        try await stage.clients.submit(60, on: reactor)
      }
      try stage.expect(front.answersLost > 1, "\(front.answersLost) answers were lost")
      try await stage.allOver(within: 60, on: reactor)
      await stage.clients.lookAtAll(on: reactor)
    }
  }
}
