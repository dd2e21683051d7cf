import Basics
import Reactor
import TestSupport
import Testing

@testable import TaskQueue

/// What clients and people want of tasks beside having them run.
@Suite(.serialized, .timeLimit(.minutes(5))) struct WishTests {
  private static let key = TaskKey(high: 1, low: 2)

  private func submission(
    _ text: String, fingerprint: UInt64? = nil, runAt: Timestamp? = nil, secret: Bool = false
  ) -> Submission {
    Submission(
      kind: "test", lane: Lane(line: 0, priority: .normal), group: 0, payload: Array(text.utf8), isSecret: secret,
      key: fingerprint == nil ? nil : Self.key, fingerprint: fingerprint.map { TaskKey(high: 0, low: $0) },
      runAt: runAt)
  }

  @Test func `a key that a client has chosen stands for one task, whatever becomes of it, and for no other`()
    async throws
  {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("idempotent", on: reactor)
      let worker = await queue.worker(on: reactor)
      let id = try await queue.queue(submission("a", fingerprint: 7), on: reactor)
      func again(_ fingerprint: UInt64, on reactor: isolated Reactor) async throws -> SubmitOutcome {
        try await queue.client.submit(submission("a", fingerprint: fingerprint), on: reactor)
      }
      #expect(try await again(7, on: reactor) == .underWay(id: id, state: .queued))
      #expect(try await again(8, on: reactor) == .conflict)
      // Both at once, in one batch.
      let both = (7...8).map { fingerprint in
        Task.immediate(executorPreference: reactor.queue) {
          try await queue.client.submit(submission("b", fingerprint: UInt64(fingerprint)), on: reactor)
        }
      }
      #expect(try await both[0].value == .underWay(id: id, state: .queued))
      #expect(try await both[1].value == .conflict)
      let tasks = try await worker.claim(16, on: reactor)
      #expect(tasks.map(\.id) == [id])
      #expect(try await again(7, on: reactor) == .underWay(id: id, state: .running))
      let failed = Completion(id: id, lease: tasks[0].lease, outcome: .failed(error: "no"))
      #expect(try await worker.complete([failed], on: reactor) == [id])
      #expect(try await again(7, on: reactor) == .underWay(id: id, state: .failed))
      #expect(try await again(8, on: reactor) == .conflict)
      // Of yesterday, too; and once the task is gone it stands for a new one.
      try await queue.run("update millrace.unique_key set day = day - 1", on: reactor)
      #expect(try await again(7, on: reactor) == .underWay(id: id, state: .failed))
      #expect(try await again(8, on: reactor) == .conflict)
      try await queue.run("delete from millrace.task", on: reactor)
      let new = try await queue.queue(submission("a", fingerprint: 7), on: reactor)
      #expect(new > id)
      #expect(try await again(8, on: reactor) == .conflict)
      queue.close(on: reactor)
    }
  }

  @Test func `a scheduled task is told of, waits until its time, and is then ready`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("later", on: reactor)
      let worker = await queue.worker(on: reactor)
      let now = Timestamp.current().microseconds
      let past = try await queue.queue(submission("c", runAt: Timestamp(microseconds: now - 1)), on: reactor)
      _ = try await worker.queue.promote(on: reactor)
      #expect(try await worker.claim(16, on: reactor).map(\.id) == [past])
      let told = worker.heard.count
      let time = Timestamp(microseconds: Timestamp.current().microseconds + 3_000_000)
      let soon = try await queue.queue(submission("a", runAt: time), on: reactor)
      func dues() -> [TimeSpan] {
        worker.heard[told...].compactMap { if case .due(let span) = $0 { span } else { nil } }
      }
      while dues().filter({ $0 > .milliseconds(1) }).isEmpty {
        await worker.hears(worker.heard.count + 1, on: reactor)
      }
      #expect(dues().contains { $0 > .milliseconds(100) && $0 <= .milliseconds(3001) }, "\(worker.heard)")
      let hour = Timestamp(microseconds: now + 3_600_000_000)
      let late = try await queue.queue(submission("b", runAt: hour), on: reactor)
      // Another hour is no news.
      #expect(!dues().contains { $0 > .seconds(60 as UInt64) })
      var next: Double?
      repeat { next = try await worker.queue.promote(on: reactor) } while next.map { $0 < 3000 } ?? false
      #expect(try await worker.claim(16, on: reactor).map(\.id) == [soon])
      #expect(try await queue.number("select id from millrace.scheduled", on: reactor) == late)
      queue.close(on: reactor)
    }
  }

  @Test func `I2 a cancelled task is over: one that waits is passed over, one that runs comes too late`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("cancelled", on: reactor)
      let worker = await queue.worker(on: reactor)
      let waits = try await queue.queue(queue.submission("a"), on: reactor)
      let runs = try await queue.queue(queue.submission("b", secret: true), on: reactor)
      let later = try await queue.queue(
        submission("c", runAt: Timestamp(microseconds: Timestamp.current().microseconds + 3_600_000_000)), on: reactor)
      #expect(try await queue.client.cancel(waits, on: reactor))
      #expect(try await queue.client.cancel(later, on: reactor))
      #expect(try await queue.count("millrace.scheduled", on: reactor) == 0)
      let claimed = try await worker.claim(16, on: reactor)
      #expect(claimed.map(\.id) == [runs])
      #expect(try await queue.client.cancel(runs, on: reactor))
      while !worker.heard.contains(.cancelled(runs)) { await worker.hears(worker.heard.count + 1, on: reactor) }
      #expect(try await worker.complete(claimed, on: reactor) == [])
      for id in [waits, runs, later] {
        let task = try #require(try await queue.client.task(id, on: reactor))
        #expect(task.state == .cancelled && task.result == nil && task.completedAt != nil)
        #expect(task.attempts == (id == runs ? 1 : 0) && (task.startedAt != nil) == (id == runs))
        #expect(try await !queue.client.cancel(id, on: reactor))
      }
      #expect(try await queue.count("millrace.task where secret and payload is not null", on: reactor) == 0)
      #expect(try await queue.count("millrace.lease", on: reactor) == 0)
      #expect(try await !queue.client.cancel(1 << 40, on: reactor))
      // An identical task is a new one; of those that were cancelled the one whose input is still there can be retried.
      #expect(try await queue.queue(queue.submission("a"), on: reactor) != waits)
      #expect(try await queue.client.retry([waits, runs, 1 << 40], on: reactor) == [waits])
      #expect(try await worker.claim(16, on: reactor).map(\.id).filter { $0 == waits } == [waits])
      queue.close(on: reactor)
    }
  }

  @Test func `whatever is cancelled and claimed at once, each task is over once and no lease is left`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("racing", on: reactor)
      let worker = await queue.worker(on: reactor)
      var ids: [Int64] = []
      for index in 0..<300 { ids.append(try await queue.queue(queue.submission("\(index)"), on: reactor)) }
      var random = SeededRandom(seed: 9)
      let doomed = ids.shuffled(using: &random).prefix(150)
      let cancelling = Task.immediate(executorPreference: reactor.queue) {
        var ended: Set<Int64> = []
        for id in doomed where try await queue.client.cancel(id, on: reactor) { ended.insert(id) }
        return ended
      }
      var completed: [Int64] = []
      while completed.count < 150, case let tasks = try await worker.claim(4, on: reactor), !tasks.isEmpty {
        completed += try await worker.complete(tasks, on: reactor)
      }
      let cancelled = try await cancelling.value
      while case let tasks = try await worker.claim(16, on: reactor), !tasks.isEmpty {
        completed += try await worker.complete(tasks, on: reactor)
      }
      #expect(Set(completed).count == completed.count && cancelled.isDisjoint(with: completed))
      #expect(cancelled.count + completed.count == 300)
      #expect(try await queue.count("millrace.task where state = 4", on: reactor) == Int64(cancelled.count))
      #expect(try await queue.count("millrace.task where state = 2", on: reactor) == Int64(completed.count))
      #expect(try await queue.count("millrace.lease", on: reactor) == 0)
      queue.close(on: reactor)
    }
  }

  @Test func `what is begun anew is run once, whatever was left of it when it was cancelled`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("begun_anew", on: reactor)
      let worker = await queue.worker(on: reactor)
      // One waits, at a place that nothing tells; one runs, together with another that goes on.
      let waits = try await queue.queue(queue.submission("a"), on: reactor)
      try await queue.run("update millrace.ready_batch set seq = nextval('millrace.task_id')", on: reactor)
      let runs = try await queue.queue(
        queue.submission("b", Lane(line: 0, priority: .high)), on: reactor)
      let goesOn = try await queue.queue(
        queue.submission("c", Lane(line: 0, priority: .high)), on: reactor)
      let places = [ClaimWish.Place(Lane(line: 0, priority: .high), floor: 0)]
      let wish = ClaimWish(group: 0, places: places, count: 4, announces: nil)
      let first = try await worker.queue.turn(completing: [], isRepeated: false, claiming: wish, on: reactor).claimed
      #expect(Set(first.map(\.id)) == [runs, goesOn])
      for id in [waits, runs] { #expect(try await queue.client.cancel(id, on: reactor)) }
      #expect(try await Set(queue.client.retry([waits, runs], on: reactor)) == [waits, runs])
      #expect(try await queue.count("millrace.ready", on: reactor) == 2)
      // What was broken off before the other attempt is not given back, and its result is not taken.
      try await worker.queue.release(lease: first[0].lease, ids: [runs], on: reactor)
      #expect(try await queue.count("millrace.ready", on: reactor) == 2)
      #expect(try await worker.complete(first, on: reactor) == [goesOn])
      var claimed: [Int64] = []
      for lane in [Lane(line: 0, priority: .high), Lane(line: 0, priority: .normal)] {
        let wish = ClaimWish(
          group: 0, places: [ClaimWish.Place(lane, floor: 0)], count: 16, announces: nil)
        let turn = try await worker.queue.turn(completing: [], isRepeated: false, claiming: wish, on: reactor)
        claimed += try await worker.complete(turn.claimed, on: reactor)
      }
      #expect(claimed.sorted() == [waits, runs].sorted())
      #expect(try await queue.count("millrace.lease", on: reactor) == 0)
      queue.close(on: reactor)
    }
  }

  @Test func `a retry and the completion of what was cancelled do not wait for each other`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("no_deadlock", on: reactor)
      let worker = await queue.worker(on: reactor)
      let id = try await queue.queue(queue.submission("a"), on: reactor)
      _ = try await worker.claim(1, on: reactor)
      #expect(try await queue.client.cancel(id, on: reactor))
      // A completion locks the lease first, and then the task.
      try await queue.run("begin", on: reactor)
      try await queue.run("select 1 from millrace.lease for key share", on: reactor)
      let retrying = Task.immediate(executorPreference: reactor.queue) {
        try await queue.client.retry([id], on: reactor)
      }
      try await queue.waitForLockWaiters(on: reactor)
      try await queue.run("select 1 from millrace.task where id = \(id) for update", on: reactor)
      try await queue.run("commit", on: reactor)
      #expect(try await retrying.value == [id])
      #expect(try await queue.count("millrace.lease", on: reactor) == 0)
      #expect(try await worker.claim(1, on: reactor).map(\.id) == [id])
      queue.close(on: reactor)
    }
  }

  @Test func `many that were cancelled in front of one do not hide it, nor do any that are gone`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("hidden", on: reactor)
      let worker = await queue.worker(on: reactor)
      var ids: [Int64] = []
      for index in 0..<12 { ids.append(try await queue.queue(queue.submission("\(index)"), on: reactor)) }
      // At places that nothing tells.
      try await queue.run("update millrace.ready_batch set seq = seq + 1000", on: reactor)
      for id in ids.dropLast() { #expect(try await queue.client.cancel(id, on: reactor)) }
      #expect(try await queue.client.purge(Array(ids.prefix(4)), isPast: false, on: reactor).count == 4)
      #expect(try await worker.claim(1, on: reactor).map(\.id) == [ids[11]])
      #expect(try await queue.count("millrace.lease", on: reactor) == 1)
      #expect(try await queue.count("millrace.ready", on: reactor) == 0)
      queue.close(on: reactor)
    }
  }

  @Test func `no more tasks of a line run at once than may, whoever claims them`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("bounded", on: reactor)
      var workers: [TestWorker] = []
      for name in ["one", "two", "three"] { workers.append(await queue.worker(name, on: reactor)) }
      for index in 0..<40 { _ = try await queue.queue(queue.submission("\(index)"), on: reactor) }
      let place = ClaimWish.Place(Lane(line: 0, priority: .normal), floor: 0, runningMax: 5)
      let wish = ClaimWish(group: 0, places: [place], count: 1, announces: nil)
      var most: Int64 = 0
      let slots = (0..<12).map { index in
        Task.immediate(executorPreference: reactor.queue) {
          let worker = workers[index % 3].queue
          var done = 0
          var idle = 0
          while idle < 20 {
            let turn = try await worker.turn(completing: [], isRepeated: false, claiming: wish, on: reactor)
            idle = turn.claimed.isEmpty ? idle + 1 : 0
            most = max(most, try await queue.count("millrace.lease", on: reactor))
            _ = try await worker.turn(
              completing: turn.claimed.map { $0.completed() }, isRepeated: false, claiming: nil, on: reactor)
            done += turn.claimed.count
          }
          return done
        }
      }
      var done = 0
      for slot in slots { done += try await slot.value }
      #expect(done == 40 && 2...5 ~= most, "\(done), \(most)")
      let none = ClaimWish(
        group: 0, places: [.init(Lane(line: 0, priority: .normal), floor: 0, runningMax: 0)], count: 1, announces: nil)
      _ = try await queue.queue(queue.submission("last"), on: reactor)
      let turn = try await workers[0].queue.turn(completing: [], isRepeated: false, claiming: none, on: reactor)
      #expect(turn.claimed.isEmpty)
      queue.close(on: reactor)
    }
  }

  @Test func `where few may run, a place is kept for a task whose worker was lost`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("kept_place", on: reactor)
      let (lost, worker) = (await queue.worker("lost", on: reactor), await queue.worker(on: reactor))
      let first = try await queue.queue(queue.submission("suspect"), on: reactor)
      _ = try await lost.claim(1, on: reactor)
      try await queue.run("select millrace.rescue(array(select id from millrace.lease))", on: reactor)
      let other = try await queue.queue(queue.submission("other"), on: reactor)
      func claim(_ lane: Lane, on reactor: isolated Reactor) async throws -> [Int64] {
        let place = ClaimWish.Place(lane, floor: 0, runningMax: 1)
        let wish = ClaimWish(group: 0, places: [place], count: 1, announces: nil)
        let turn = try await worker.queue.turn(completing: [], isRepeated: false, claiming: wish, on: reactor)
        return turn.claimed.map(\.id)
      }
      let normal = Lane(line: 0, priority: .normal)
      #expect(try await claim(normal, on: reactor) == [])
      #expect(try await claim(.suspects(of: 0), on: reactor) == [first])
      #expect(try await claim(normal, on: reactor) == [])
      try await queue.run("delete from millrace.lease", on: reactor)
      #expect(try await claim(normal, on: reactor) == [other])
      queue.close(on: reactor)
    }
  }

  @Test func `orders are read, and how far a task is is stored as long as its lease stands`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("ordered", on: reactor)
      let worker = await queue.worker(on: reactor)
      #expect(try await worker.queue.orders(on: reactor) == QueueOrders())
      try await queue.run(
        "insert into millrace.kind_control values ('md5', true, null), ('argon2', false, 4)", on: reactor)
      let number = try #require(worker.queue.id)
      #expect(try await queue.client.order(workers: [number, 99], .quiet, on: reactor) == [number])
      #expect(try await queue.client.limit(workers: [number, 99], to: 3, on: reactor) == [number])
      var expected = QueueOrders()
      expected.kinds = ["md5": .init(isPaused: true), "argon2": .init(runningMax: 4)]
      expected.wanted = .quiet
      expected.slotsMax = 3
      #expect(try await worker.queue.orders(on: reactor) == expected)
      // They outlast the row, which others take away from whoever they believe dead, and not the worker for ever.
      try await queue.run("delete from millrace.worker", on: reactor)
      _ = try await worker.beat(on: reactor)
      #expect(try await worker.queue.orders(on: reactor) == expected)
      #expect(try await queue.client.stats(on: reactor).workers.map(\.slotsMax) == [3])
      try await queue.run("update millrace.worker_control set given_at = now() - interval '2 days'", on: reactor)
      try await queue.run(
        "insert into millrace.worker_control (worker_id, given_at) values (99, '-infinity')", on: reactor)
      _ = try await worker.queue.maintain(retentionSeconds: 1000, on: reactor)
      #expect(try await queue.number("select worker_id from millrace.worker_control", on: reactor) == number)
      let id = try await queue.queue(queue.submission("a"), on: reactor)
      let task = try await worker.claim(1, on: reactor)[0]
      func store(_ share: Double?, _ lease: Int64, on reactor: isolated Reactor) async throws -> Set<Int64> {
        try await worker.queue.store(progress: [(id, lease, share)], on: reactor)
      }
      #expect(try await store(0.25, task.lease, on: reactor) == [id])
      #expect(try await store(nil, task.lease, on: reactor) == [id])
      #expect(try await store(0.5, task.lease + 1, on: reactor) == [])
      #expect(try await queue.client.task(id, on: reactor)?.progress == 0.25)
      _ = try await worker.complete([task], on: reactor)
      #expect(try await queue.client.task(id, on: reactor)?.progress == nil)
      #expect(try await store(0.5, task.lease, on: reactor) == [])
      queue.close(on: reactor)
    }
  }
}
