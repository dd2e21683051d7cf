import Basics
import Postgres
import Reactor
import Telemetry
import TestSupport
import Testing

@testable import TaskQueue

@Suite(.serialized) struct TaskQueueTests {
  @Test func `a read that comes while another waits for a connection in vain fails with it`() async throws {
    try await onReactor { reactor in
      let client = PostgresClient(PostgresConfiguration(), helpers: helpers, log: quiet, metrics: Metrics())
      let reader = TaskReader(client)
      let began = reactor.now
      var failures: [TimeSpan] = []
      for id in 1...3 as ClosedRange<Int64> {
        Task.immediate(executorPreference: reactor.queue) {
          do { _ = try await reader.task(id, on: reactor) } catch { failures.append(reactor.now.since(began)) }
        }
        await reactor.sleep(for: .milliseconds(300))
      }
      while failures.count < 3 { await reactor.sleep(for: .milliseconds(10)) }
      #expect(failures.allSatisfy { $0 < .seconds(4 as UInt64) }, "\(failures.map(\.milliseconds))")
      client.close(on: reactor)
    }
  }

  @Test func `a thousand identical submissions over three processes make one task`() async throws {
    let (ids, tasks, fresh) = try await onReactor { reactor -> (Int, Int64, Int) in
      let queue = try await QueueHarness.make("identical", on: reactor)
      // Submitters coalesce in their own process; three of them meet only in the database.
      let submitters =
        [queue.submitter]
        + (0..<2).map { _ in Submitter(queue.client, retentionSeconds: 60, log: quiet, metrics: Metrics()) }
      let outcomes = Outcomes()
      for index in 0..<1000 {
        Task.immediate(executorPreference: reactor.queue) {
          await outcomes.submit(queue.submission("same"), submitters[index % 3], on: reactor)
        }
        if index % 50 == 0 { await reactor.sleep(for: .milliseconds(1)) }
      }
      while outcomes.count < 1000 { await reactor.sleep(for: .milliseconds(1)) }
      let tasks = try await queue.count("millrace.task", on: reactor)
      queue.client.close(on: reactor)
      let fresh = outcomes.all.filter { if case .queued = $0 { true } else { false } }.count
      return (outcomes.ids.count, tasks, fresh)
    }
    #expect(ids == 1 && tasks == 1)
    #expect(fresh >= 1)
  }

  @Test func `a completed task is found with its result, a failed one is begun anew`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("found", on: reactor)
      let connection = try await queue.connect(on: reactor)
      let presence = try await WorkerPresence.register(name: "w", connection: connection, on: reactor)
      let claims = Claims(worker: presence.id)
      let done = queue.submission("done")
      let bad = queue.submission("bad", attempts: 1)
      guard case .queued(let doneId) = try await queue.submitter.submit(done, on: reactor),
        case .queued(let badId) = try await queue.submitter.submit(bad, on: reactor)
      else { throw PostgresError(.unavailable, "not queued") }
      #expect(try await queue.submitter.submit(done, on: reactor) == .underWay(id: doneId, state: .queued))
      let tasks = try await queue.claim(claims, 16, connection, on: reactor)
      #expect(tasks.map(\.id) == [doneId, badId])
      #expect(try await queue.submitter.submit(done, on: reactor) == .underWay(id: doneId, state: .running))
      #expect(try await queue.reader.task(doneId, on: reactor)?.state == .running)
      let turn = try await claims.turn(
        completing: [
          Completion(id: doneId, lease: tasks[0].lease, outcome: .completed(result: Array("{}".utf8))),
          Completion(id: badId, lease: tasks[0].lease, outcome: .failed(error: "no")),
        ], endedLeases: [tasks[0].lease], claimingFrom: nil, count: 0, floor: 0, connection: connection, on: reactor)
      #expect(turn.accepted.sorted() == [doneId, badId])
      guard case .completed(doneId, let result, let age) = try await queue.submitter.submit(done, on: reactor),
        case .queued(let again) = try await queue.submitter.submit(bad, on: reactor)
      else { throw PostgresError(.unavailable, "not found") }
      #expect(result == Array("{}".utf8) && age >= 0 && age < 60 && again > badId)
      let record = try await queue.reader.task(badId, on: reactor)
      #expect(record?.state == .failed && record?.error == "no" && record?.attempts == 1)
      #expect(try await queue.reader.task(999_999, on: reactor) == nil)
      #expect(try await queue.count("millrace.lease", on: reactor) == 0)
      #expect(try await queue.count("millrace.task where payload is not null and state <> 0", on: reactor) == 0)
      queue.client.close(on: reactor)
      connection.close(on: reactor)
    }
  }

  @Test func `I4 a completion with a lease that was taken away changes nothing`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("fence", on: reactor)
      let first = try await queue.connect(on: reactor)
      let second = try await queue.connect(on: reactor)
      let slow = Claims(worker: try await WorkerPresence.register(name: "slow", connection: first, on: reactor).id)
      let quick = Claims(worker: try await WorkerPresence.register(name: "quick", connection: second, on: reactor).id)
      _ = try await queue.submitter.submit(queue.submission("x"), on: reactor)
      let held = try await queue.claim(slow, 1, first, on: reactor)
      let rescue = PostgresStatement(
        "rescue", "select millrace.rescue(array(select id from millrace.lease where worker_id = \(slow.worker)))")
      #expect(try await queue.client.execute(rescue, on: reactor).int64(0, 0) == 1)
      #expect(try await queue.complete(slow, held, first, on: reactor).isEmpty)
      let taken = try await queue.claim(quick, 1, second, on: reactor)
      #expect(taken.map(\.id) == held.map(\.id) && taken[0].attemptsBefore == 1)
      #expect(try await queue.complete(slow, held, first, on: reactor).isEmpty)
      #expect(try await queue.complete(quick, taken, second, on: reactor) == held.map(\.id))
      #expect(try await queue.complete(quick, taken, second, on: reactor).isEmpty)
      queue.client.close(on: reactor)
      first.close(on: reactor)
      second.close(on: reactor)
    }
  }

  @Test func `I13 the heartbeat of one worker takes over from a dead one, and leaves a live one alone`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("takeover", on: reactor)
      let dying = try await queue.connect(on: reactor)
      let living = try await queue.connect(on: reactor)
      let dead = Claims(worker: try await WorkerPresence.register(name: "dead", connection: dying, on: reactor).id)
      let presence = try await WorkerPresence.register(name: "alive", connection: living, on: reactor)
      for index in 0..<3 { _ = try await queue.submitter.submit(queue.submission("\(index)"), on: reactor) }
      #expect(try await queue.claim(dead, 16, dying, on: reactor).count == 3)
      let backdate = PostgresStatement(
        "backdate", "update millrace.worker set heartbeat_at = now() - interval '3 seconds'")
      _ = try await queue.client.execute(backdate, on: reactor)
      #expect(
        try await presence.heartbeat(
          held: [], idleGroups: [], leaseSeconds: 30, settledSeconds: 0, selfTest: false, queue.client, on: reactor
        ).rescued
          == 0)
      dying.close(on: reactor)
      while try await queue.count("pg_locks where locktype = 'advisory' and objid = \(dead.worker)", on: reactor) > 0 {
        await reactor.sleep(for: .milliseconds(1))
      }
      // After an outage everybody is late: whose own session is young takes nobody for dead.
      #expect(
        try await presence.heartbeat(
          held: [], idleGroups: [], leaseSeconds: 30, settledSeconds: 60, selfTest: false, queue.client, on: reactor
        ).rescued
          == 0)
      var rescued: Int64 = 0
      for _ in 0..<200 where rescued == 0 {
        _ = try await queue.client.execute(backdate, on: reactor)
        rescued = try await presence.heartbeat(
          held: [], idleGroups: [], leaseSeconds: 30, settledSeconds: 0, selfTest: false, queue.client, on: reactor
        )
        .rescued
      }
      #expect(rescued == 3)
      let alive = Claims(worker: presence.id)
      #expect(try await queue.claim(alive, 16, living, on: reactor).count == 3)
      queue.client.close(on: reactor)
      living.close(on: reactor)
    }
  }

  @Test func `a retry comes back when its time has come, a release at once and without an attempt`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("retry", on: reactor)
      let connection = try await queue.connect(on: reactor)
      let presence = try await WorkerPresence.register(name: "w", connection: connection, on: reactor)
      let claims = Claims(worker: presence.id)
      for index in 0..<2 { _ = try await queue.submitter.submit(queue.submission("\(index)"), on: reactor) }
      let tasks = try await queue.claim(claims, 16, connection, on: reactor)
      try await claims.release(lease: tasks[0].lease, ids: [tasks[1].id], connection: connection, on: reactor)
      _ = try await claims.turn(
        completing: [
          Completion(id: tasks[0].id, lease: tasks[0].lease, outcome: .retry(error: "later", afterSeconds: 0.02))
        ], endedLeases: [tasks[0].lease], claimingFrom: nil, count: 0, floor: 0, connection: connection, on: reactor)
      let released = try await queue.claim(claims, 16, connection, on: reactor)
      #expect(released.map(\.id) == [tasks[1].id] && released[0].attemptsBefore == 0)
      #expect(try await queue.reader.task(tasks[0].id, on: reactor)?.error == "later")
      var promoted: Int64 = 0
      while promoted == 0 {
        promoted = try await presence.heartbeat(
          held: [], idleGroups: [], leaseSeconds: 30, settledSeconds: 0, selfTest: false, queue.client, on: reactor
        )
        .promoted
      }
      let retried = try await queue.claim(claims, 16, connection, on: reactor)
      #expect(retried.map(\.id) == [tasks[0].id] && retried[0].attemptsBefore == 1)
      queue.client.close(on: reactor)
      connection.close(on: reactor)
    }
  }

  @Test func `I2 I3 whatever claimers, deaths and late completions come together, each task is completed once`()
    async throws
  {
    let (accepted, completed) = try await onReactor { reactor -> ([Int64], Int64) in
      let queue = try await QueueHarness.make("chaos", on: reactor)
      let outcomes = Outcomes()
      for index in 0..<1000 {
        Task.immediate(executorPreference: reactor.queue) {
          await outcomes.submit(queue.submission("\(index)", attempts: 1000), queue.submitter, on: reactor)
        }
      }
      while outcomes.count < 1000 { await reactor.sleep(for: .milliseconds(1)) }
      let ledger = Ledger()
      for seed in 0..<4 as Range<UInt64> {
        Task.immediate(executorPreference: reactor.queue) {
          await ledger.work(queue, seed: seed, on: reactor)
        }
      }
      while ledger.finished < 4 { await reactor.sleep(for: .milliseconds(2)) }
      let completed = try await queue.count(
        "millrace.task where state = 2 and result = convert_to(id::text, 'UTF8')", on: reactor)
      queue.client.close(on: reactor)
      return (ledger.accepted, completed)
    }
    #expect(accepted.count == 1000 && Set(accepted).count == 1000)
    #expect(completed == 1000)
  }

  @Test func `a page walks all tasks newest first, filtered or not`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("pages", on: reactor)
      let connection = try await queue.connect(on: reactor)
      let claims = Claims(worker: try await WorkerPresence.register(name: "w", connection: connection, on: reactor).id)
      for index in 0..<25 { _ = try await queue.submitter.submit(queue.submission("\(index)"), on: reactor) }
      let tasks = try await queue.claim(claims, 16, connection, on: reactor)
      _ = try await queue.complete(claims, tasks, connection, on: reactor)
      for (state, expected) in [(nil, 25), (TaskState.completed, 16), (.queued, 9), (.failed, 0)] {
        var seen: [Int64] = []
        var cursor: Int64?
        repeat {
          let page = try await queue.reader.page(before: cursor, state: state, kinds: nil, limit: 4, on: reactor)
          seen += page.tasks.map(\.id)
          cursor = page.next
        } while cursor != nil
        #expect(seen.count == expected && seen == seen.sorted(by: >) && Set(seen).count == expected)
      }
      queue.client.close(on: reactor)
      connection.close(on: reactor)
    }
  }

  @Test func `each heavy task wakes a sleeping worker of its own, quick ones together wake one`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("wakers", on: reactor)
      let ear = Ear()
      let sleepers = try await queue.sleepers(3, heardBy: ear, on: reactor)
      for (tasksPerWakeUp, expected) in [(1, 2), (128, 1)] {
        let outcomes = Outcomes()
        for index in 0..<2 {
          let submission = Submission(
            kind: "test", lane: queue.lane, payload: [UInt8(index)], digest: nil, tasksPerWakeUp: tasksPerWakeUp)
          Task.immediate(executorPreference: reactor.queue) {
            await outcomes.submit(submission, queue.submitter, on: reactor)
          }
        }
        while outcomes.count < 2 || ear.heard.count < expected { await reactor.sleep(for: .milliseconds(1)) }
        // Notifications are delivered in the order of commits: after this one, no other of the two tasks is to come.
        _ = try await queue.client.execute(PostgresStatement("last", "notify millrace_ready, 'last'"), on: reactor)
        while ear.heard.filter({ $0 == "millrace_ready:last" }).count < 3 { await reactor.sleep(for: .milliseconds(1)) }
        #expect(Set(ear.heard).count == expected + 1 && ear.heard.count == expected + 3)
        ear.heard.removeAll()
      }
      for connection in sleepers { connection.close(on: reactor) }
      queue.client.close(on: reactor)
    }
  }

  @Test func `a heartbeat finds a task that no sleeper was told of, until somebody claims it`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("untold", on: reactor)
      let connection = try await queue.connect(on: reactor)
      let presence = try await WorkerPresence.register(name: "w", connection: connection, on: reactor)
      for index in 0..<2 { _ = try await queue.submitter.submit(queue.submission("\(index)"), on: reactor) }
      let report = try await presence.heartbeat(
        held: [], idleGroups: [0, 2], leaseSeconds: 30, settledSeconds: 0, selfTest: false, queue.client, on: reactor)
      #expect(report.waiting.map(\.group) == [0])
      #expect(try await WorkerPresence.stillWaiting(report.waiting, queue.client, on: reactor) == report.waiting)
      _ = try await queue.claim(Claims(worker: presence.id), 1, connection, on: reactor)
      #expect(try await WorkerPresence.stillWaiting(report.waiting, queue.client, on: reactor) == [])
      queue.client.close(on: reactor)
      connection.close(on: reactor)
    }
  }

  @Test func `submissions of a crowd wait for each other, a single one leaves at once`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("crowd", on: reactor)
      let metrics = Metrics()
      let submitter = Submitter(
        queue.client, retentionSeconds: 60, holdMax: .seconds(30 as UInt64), log: quiet, metrics: metrics)
      func batches() -> Int {
        let name = "millrace_queue_submit_batches_total "
        let lines = String(decoding: metrics.rendered(), as: UTF8.self).split(separator: "\n")
        return lines.first { $0.hasPrefix(name) }.flatMap { Int($0.dropFirst(name.count)) } ?? 0
      }
      _ = try await submitter.submit(queue.submission("alone"), on: reactor)
      #expect(batches() == 1)
      let first = Outcomes()
      first.start(1...16, queue, submitter, on: reactor)
      while first.count < 16 { await reactor.sleep(for: TimeSpan(nanoseconds: 0)) }
      #expect(batches() == 2)
      // The first of the crowd comes back and is held; with most of the others it leaves, in one batch.
      let second = Outcomes()
      second.start(17...17, queue, submitter, on: reactor)
      await reactor.sleep(for: TimeSpan(nanoseconds: 0))
      #expect(batches() == 2)
      second.start(18...30, queue, submitter, on: reactor)
      while second.count < 14 { await reactor.sleep(for: TimeSpan(nanoseconds: 0)) }
      #expect(batches() == 3)
      queue.client.close(on: reactor)
    }
  }

  @Test func `submissions that come one by one wake one worker each, until nobody sleeps`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("each", on: reactor)
      let ear = Ear()
      let sleepers = try await queue.sleepers(3, heardBy: ear, on: reactor)
      for index in 0..<3 {
        _ = try await queue.submitter.submit(queue.submission("\(index)"), on: reactor)
        while ear.heard.count <= index { await reactor.sleep(for: .milliseconds(1)) }
      }
      #expect(Set(ear.heard).count == 3)
      #expect(try await queue.count("millrace.idle_worker", on: reactor) == 0)
      for connection in sleepers { connection.close(on: reactor) }
      queue.client.close(on: reactor)
    }
  }

  @Test func `an idle row brings a notification, no idle row none`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("wake", on: reactor)
      // On its only connection everything happens in the order in which it was asked for.
      let client = PostgresClient(queue.configuration, helpers: helpers, log: quiet, metrics: Metrics())
      client.start(width: 1, on: reactor)
      let submitter = Submitter(client, retentionSeconds: 60, log: quiet, metrics: Metrics())
      let connection = try await queue.connect(on: reactor)
      let ear = Ear()
      connection.notificationReceiver = ear
      let presence = try await WorkerPresence.register(name: "w", connection: connection, on: reactor)
      let claims = Claims(worker: presence.id)
      _ = try await submitter.submit(queue.submission("unheard"), on: reactor)
      _ = try await client.execute(PostgresStatement("after", "select 1"), on: reactor)
      try await claims.announceIdle(group: 0, connection, on: reactor)
      _ = try await submitter.submit(queue.submission("heard"), on: reactor)
      while ear.heard.isEmpty { await reactor.sleep(for: .milliseconds(1)) }
      #expect(ear.heard == ["millrace_worker_\(presence.id):0:1"])
      let turn = try await claims.turn(
        completing: [], endedLeases: [], claimingFrom: queue.lane, count: 16, floor: 0, wakes: true,
        connection: connection, on: reactor)
      #expect(turn.claimed.count == 2)
      #expect(try await queue.count("millrace.idle_worker", on: reactor) == 0)
      client.close(on: reactor)
      queue.client.close(on: reactor)
      connection.close(on: reactor)
    }
  }
}

private final class Ear: PostgresNotificationReceiver {
  var heard: [String] = []
  func notified(channel: String, payload: String, on reactor: isolated Reactor) {
    heard.append("\(channel):\(payload)")
  }
}

/// Workers that claim, sometimes lose their leases, and complete anyway.
private final class Ledger {
  var accepted: [Int64] = []
  var finished = 0

  func work(_ queue: QueueHarness, seed: UInt64, on reactor: isolated Reactor) async {
    do { try await run(queue, seed, on: reactor) } catch { Issue.record("\(error)") }
    finished += 1
  }

  private func run(_ queue: QueueHarness, _ seed: UInt64, on reactor: isolated Reactor) async throws {
    var random = SeededRandom(seed: seed)
    let connection = try await queue.connect(on: reactor)
    let presence = try await WorkerPresence.register(name: "w", connection: connection, on: reactor)
    let claims = Claims(worker: presence.id)
    var held: [ClaimedTask] = []
    while accepted.count < 1000 {
      held += try await queue.claim(claims, [1, 16, 64].randomElement(using: &random)!, connection, on: reactor)
      if held.isEmpty { await reactor.sleep(for: .milliseconds(1)) }
      if Int.random(in: 0..<8, using: &random) == 0 {
        let rescue = PostgresStatement(
          "rescue", "select millrace.rescue(array(select id from millrace.lease where worker_id = \(presence.id)))")
        _ = try await connection.execute(rescue, on: reactor)
      }
      if Int.random(in: 0..<3, using: &random) == 0 { continue }
      let turn = try await claims.turn(
        completing: held.map {
          Completion(id: $0.id, lease: $0.lease, outcome: .completed(result: Array("\($0.id)".utf8)))
        },
        endedLeases: Array(Set(held.map(\.lease))), claimingFrom: nil, count: 0, floor: 0, connection: connection,
        on: reactor)
      accepted += turn.accepted
      held.removeAll()
    }
    connection.close(on: reactor)
  }
}
