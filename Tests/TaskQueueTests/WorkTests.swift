import Basics
import Postgres
import Reactor
import TestSupport
import Testing

@testable import TaskQueue

@Suite(.serialized, .timeLimit(.minutes(5))) struct WorkTests {
  @Test func `I4 a completion with a lease that was taken away, or without its task in it, changes nothing`()
    async throws
  {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("fence", on: reactor)
      let (slow, quick) = (await queue.worker("slow", on: reactor), await queue.worker("quick", on: reactor))
      for index in 0..<2 { _ = try await queue.queue(queue.submission("\(index)"), on: reactor) }
      let held = try await slow.claim(1, on: reactor)
      let other = try await slow.claim(1, on: reactor)
      // The lease stands, but it is another task's.
      let wrong = Completion(id: held[0].id, lease: other[0].lease, outcome: .completed(result: []))
      #expect(try await quick.complete([wrong], on: reactor).isEmpty)
      #expect(try await queue.client.task(held[0].id, on: reactor)?.state == .running)
      try await queue.run("select millrace.rescue(array[\(held[0].lease)])", on: reactor)
      #expect(try await slow.complete(held, on: reactor).isEmpty)
      let taken = try await quick.claim(1, on: reactor)
      #expect(taken.map(\.id) == held.map(\.id) && taken[0].attemptsBefore == 1)
      #expect(try await slow.complete(held, on: reactor).isEmpty)
      #expect(try await quick.complete(taken, on: reactor) == held.map(\.id))
      #expect(try await quick.complete(taken, on: reactor).isEmpty)
      queue.close(on: reactor)
    }
  }

  @Test func `I3 a completion that meets a take-over waits for it and then finds nothing`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("meeting", on: reactor)
      let worker = await queue.worker(on: reactor)
      let id = try await queue.queue(queue.submission("x"), on: reactor)
      let held = try await worker.claim(1, on: reactor)
      // One transaction takes the lease, and is open while the completion comes.
      try await queue.run("begin", on: reactor)
      try await queue.run("select millrace.rescue(array[\(held[0].lease)])", on: reactor)
      var accepted: [Int64]?
      let over = Pause()
      Task.immediate(executorPreference: reactor.queue) {
        accepted = try? await worker.complete(held, on: reactor)
        over.end()
      }
      try await queue.waitForLockWaiters(on: reactor)
      try await queue.run("commit", on: reactor)
      if accepted == nil { await over.wait(until: .never, on: reactor) }
      #expect(accepted == [])
      #expect(try await queue.count("millrace.task where state = 0 and attempt = 1", on: reactor) == 1)
      #expect(try await worker.claim(1, on: reactor).map(\.id) == [id])
      queue.close(on: reactor)
    }
  }

  @Test func `a task that comes while a turn that claims it waits for its completions is not begun before it came`()
    async throws
  {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("younger", on: reactor)
      let worker = await queue.worker(on: reactor)
      _ = try await queue.queue(queue.submission("older"), on: reactor)
      let held = try await worker.claim(1, on: reactor)
      try await queue.run("begin", on: reactor)
      try await queue.run("select from millrace.lease for update", on: reactor)
      var claimed: [ClaimedTask]?
      let over = Pause()
      Task.immediate(executorPreference: reactor.queue) {
        let places = [ClaimWish.Place(Lane(line: 0, priority: .normal), floor: 0)]
        let wish = ClaimWish(group: 0, places: places, count: 1, announces: nil)
        claimed = try? await worker.queue.turn(
          completing: held.map { $0.completed() }, isRepeated: false, claiming: wish, on: reactor
        ).claimed
        over.end()
      }
      try await queue.waitForLockWaiters(on: reactor)
      let id = try await queue.queue(queue.submission("younger"), on: reactor)
      try await queue.run("commit", on: reactor)
      if claimed == nil { await over.wait(until: .never, on: reactor) }
      #expect(claimed?.map(\.id) == [id])
      let task = try #require(try await queue.client.task(id, on: reactor))
      #expect(try #require(task.startedAt).microseconds > task.createdAt.microseconds)
      queue.close(on: reactor)
    }
  }

  @Test func `a completion that was stored although its answer was lost is recognised`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("again", on: reactor)
      let worker = await queue.worker(on: reactor)
      for index in 0..<4 { _ = try await queue.queue(queue.submission("\(index)"), on: reactor) }
      let tasks = try await worker.claim(16, on: reactor)
      let retry = Completion(
        id: tasks[2].id, lease: tasks[2].lease, outcome: .retry(error: "later", afterSeconds: 60))
      let completions = [tasks[0].completed(), tasks[1].failed("no"), retry, tasks[3].completed()]
      #expect(try await worker.complete(completions, on: reactor).count == 4)
      #expect(try await worker.complete(completions, isRepeated: true, on: reactor).sorted() == tasks.map(\.id))
      // What another has stored is not ours.
      let foreign = [tasks[0].completed("other"), tasks[1].failed("other")]
      #expect(try await worker.complete(foreign, isRepeated: true, on: reactor).isEmpty)
      #expect(try await queue.strays(on: reactor) == 0)
      queue.close(on: reactor)
    }
  }

  @Test func `a completion that PostgreSQL refuses fails its task alone`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("refused", on: reactor)
      let worker = await queue.worker(on: reactor)
      for index in 0..<3 { _ = try await queue.queue(queue.submission("\(index)"), on: reactor) }
      let tasks = try await worker.claim(16, on: reactor)
      // Text without an end that PostgreSQL knows: 22021.
      let completions = [tasks[0].completed(), tasks[1].failed("a\0b"), tasks[2].completed()]
      #expect(try await worker.complete(completions, on: reactor) == [tasks[0].id, tasks[2].id])
      let record = try await queue.client.task(tasks[1].id, on: reactor)
      #expect(record?.state == .failed && record?.error == "its result cannot be stored")
      #expect(try await queue.count("millrace.lease", on: reactor) == 0)
      queue.close(on: reactor)
    }
  }

  @Test func `a round of single completions that was cut short and is repeated loses none of them`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("repeated", on: reactor)
      let worker = await queue.worker(on: reactor)
      for index in 0..<3 { _ = try await queue.queue(queue.submission("\(index)"), on: reactor) }
      let tasks = try await worker.claim(16, on: reactor)
      // The first round had come as far as the last task when its connection broke.
      try await queue.run(
        "update millrace.task set state = 2, finished_at = now() where id in (\(tasks[0].id), \(tasks[1].id))",
        on: reactor)
      try await queue.run("update millrace.lease set ids = array[\(tasks[2].id)]::bigint[]", on: reactor)
      let completions = [tasks[0].completed(), tasks[1].completed(), tasks[2].failed("a\0b")]
      _ = try await worker.complete(completions, on: reactor)
      #expect(try await queue.client.task(tasks[2].id, on: reactor)?.state == .failed)
      #expect(try await queue.strays(on: reactor) == 0)
      #expect(try await queue.count("millrace.lease", on: reactor) == 0)
      queue.close(on: reactor)
    }
  }

  @Test func `a task whose worker was lost is run alone, and then harms nobody else`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("suspects", on: reactor)
      var workers: [TestWorker] = []
      for name in ["one", "two", "three"] { workers.append(await queue.worker(name, on: reactor)) }
      for index in 0..<3 { _ = try await queue.queue(queue.submission("\(index)"), on: reactor) }
      let first = try await workers[0].claim(16, on: reactor)
      #expect(first.count == 3)
      let rescue = "select millrace.rescue(array(select id from millrace.lease where worker_id = "
      try await queue.run("\(rescue)\(workers[0].queue.id!)))", on: reactor)
      _ = try await queue.queue(queue.submission("new"), on: reactor)
      // One at a time, by those who ask for such; others pass them over.
      func claim(_ lane: Lane, _ count: Int, on reactor: isolated Reactor) async throws -> Turn {
        let wish = ClaimWish(group: 0, places: [ClaimWish.Place(lane, floor: 0)], count: count, announces: nil)
        return try await workers[1].queue.turn(completing: [], isRepeated: false, claiming: wish, on: reactor)
      }
      let innocent = try await claim(Lane(line: 0, priority: .normal), 16, on: reactor).claimed
      #expect(innocent.count == 1 && !first.map(\.id).contains(innocent[0].id))
      let turn = try await claim(.suspects(of: 0), 1, on: reactor)
      #expect(turn.claimed.map(\.id) == [first[0].id] && turn.isFull)
      #expect(turn.claimed[0].attemptsBefore == 1)
      // It dies with its worker: it has lost an attempt. What was beside it has not, but may be what did it.
      try await queue.run("\(rescue)\(workers[1].queue.id!)))", on: reactor)
      let attempts = "select attempt from millrace.task where id = "
      #expect(try await queue.number("\(attempts)\(first[0].id)", on: reactor) == 2)
      #expect(try await queue.number("\(attempts)\(innocent[0].id)", on: reactor) == 0)
      #expect(try await claim(Lane(line: 0, priority: .normal), 16, on: reactor).claimed.isEmpty)
      let waiting = "select count(*) from millrace.ready where lane = 7"
      #expect(try await queue.number(waiting, on: reactor) == 4)
      // One that is cancelled leaves no place behind.
      #expect(try await queue.client.cancel(innocent[0].id, on: reactor))
      #expect(try await queue.number(waiting, on: reactor) == 3)
      #expect(try await queue.strays(on: reactor) == 0)
      queue.close(on: reactor)
    }
  }

  @Test func `of tasks whose worker was lost, last attempts are claimed apart from the others`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("lasts", on: reactor)
      let worker = await queue.worker(on: reactor)
      let lane = Lane.suspects(of: 0)
      var ids: [Int64] = []
      for index in 0..<4 { ids.append(try await queue.queue(queue.submission("\(index)", lane), on: reactor)) }
      for index in [0, 2] {
        try await queue.run("update millrace.task set attempt = 2 where id = \(ids[index])", on: reactor)
      }
      func claim(_ attempts: ClaimWish.Attempts, most: Int32? = nil) async throws -> Int64? {
        let place = ClaimWish.Place(lane, floor: 0, runningMax: most)
        let wish = ClaimWish(group: 0, places: [place], count: 1, announces: nil, attempts: attempts)
        return try await worker.queue.turn(completing: [], isRepeated: false, claiming: wish, on: reactor).claimed
          .first?
          .id
      }
      func waits(most: Int32? = nil) async throws -> Bool {
        let places = [ClaimWish.Place(lane, floor: 0, runningMax: most), ClaimWish.Place(.suspects(of: 3), floor: 0)]
        return try await worker.queue.lastAttemptsWait(in: places, on: reactor)
      }
      #expect(try await waits())
      #expect(try await claim(.allButLast) == ids[1])
      #expect(try await claim(.last, most: 1) == nil)
      // Nobody makes room for what cannot be claimed.
      #expect(try await !waits(most: 1))
      #expect(try await waits(most: 2))
      #expect(try await claim(.last, most: 2) == ids[0])
      #expect(try await claim(.allButLast, most: 9) == ids[3])
      #expect(try await claim(.allButLast) == nil)
      // One that was cancelled is nobody's last attempt, and its place goes with the others.
      #expect(try await waits())
      try await queue.run("update millrace.task set state = 4 where id = \(ids[2])", on: reactor)
      #expect(try await !waits())
      #expect(try await claim(.last) == nil)
      #expect(try await claim(.allButLast) == nil)
      #expect(try await queue.count("millrace.ready", on: reactor) == 0)
      queue.close(on: reactor)
    }
  }

  @Test func `one worker of all has the turn to make room, until it ends or the worker does`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("turn", on: reactor)
      let (one, two) = (await queue.worker("one", on: reactor).queue, await queue.worker("two", on: reactor).queue)
      func takes(_ worker: QueueWorker, isAlone: Bool = false) async throws -> Bool {
        try await worker.takeSoleTurn(isAlone: isAlone, seconds: 30, on: reactor)
      }
      #expect(try await takes(one))
      #expect(try await takes(one))
      #expect(try await !takes(two))
      // Who has room already goes before who does not, and then keeps it.
      #expect(try await takes(two, isAlone: true))
      #expect(try await !takes(one))
      #expect(try await !takes(one, isAlone: true))
      await one.endSoleTurn(on: reactor)
      #expect(try await !takes(one))
      await two.endSoleTurn(on: reactor)
      #expect(try await takes(one, isAlone: true))
      // Of one that is frozen the time passes, and of one that is dead it need not.
      try await queue.run("update millrace.sole_turn set ends_at = now()", on: reactor)
      #expect(try await takes(two, isAlone: true))
      try await queue.run("delete from millrace.worker where id = \(two.id!)", on: reactor)
      #expect(try await takes(one))
      queue.close(on: reactor)
    }
  }

  @Test func `I5 the most urgent comes first, and goes back to its own lane`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("urgent", on: reactor)
      let worker = await queue.worker(on: reactor)
      for index in 0..<300 {
        let line: Int16 = index % 2 == 0 ? 0 : 3
        _ = try await queue.queue(queue.submission("low \(index)", Lane(line: line, priority: .low)), on: reactor)
      }
      let normal = try await queue.queue(queue.submission("normal", Lane(line: 3, priority: .normal)), on: reactor)
      let high = try await queue.queue(queue.submission("high", Lane(line: 0, priority: .high)), on: reactor)
      var order = LaneOrder(lines: [0, 3])
      var floors = LaneFloors(sweepPause: .seconds(1 as UInt64))
      func claim(_ count: Int, on reactor: isolated Reactor) async throws -> Turn {
        let places = floors.places(order.next(), findsAll: false, at: reactor.now)
        let wish = ClaimWish(group: 0, places: places, count: count, announces: nil)
        let turn = try await worker.queue.turn(completing: [], isRepeated: false, claiming: wish, on: reactor)
        floors.found(turn, at: reactor.now)
        return turn
      }
      let first = try await claim(4, on: reactor)
      #expect(first.isFull && first.claimed.count == 4 && Set(first.claimed.map(\.id)).isSuperset(of: [normal, high]))
      try await worker.queue.release(lease: first.claimed[0].lease, ids: first.claimed.map(\.id), on: reactor)
      let lanes = "select lane from millrace.ready where id = "
      #expect(try await queue.number("\(lanes)\(high)", on: reactor) == 0)
      #expect(try await queue.number("\(lanes)\(normal)", on: reactor) == 25)
      #expect(try await queue.count("millrace.ready where lane in (2, 26)", on: reactor) == 300)
      #expect(try await claim(1, on: reactor).claimed.map(\.id) == [high])
      // Of one lane after the other, each from where it was looked at last.
      var claimed = 1
      while true {
        let turn = try await claim(128, on: reactor)
        if turn.claimed.isEmpty { break }
        claimed += turn.claimed.count
        _ = try await worker.complete(turn.claimed, on: reactor)
      }
      #expect(claimed == 302)
      queue.close(on: reactor)
    }
  }

  @Test func `I2 I3 whatever claimers, deaths and late completions come together, each task is completed once`()
    async throws
  {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("chaos", on: reactor)
      let outcomes = Outcomes()
      for index in 0..<1000 {
        outcomes.submit(queue.submission("\(index)", attempts: 1000), queue.client, on: reactor)
      }
      await outcomes.wait(for: 1000, on: reactor)
      let ledger = Ledger()
      for seed in 0..<4 as Range<UInt64> {
        let worker = await queue.worker("w\(seed)", on: reactor)
        Task.immediate(executorPreference: reactor.queue) { await ledger.work(queue, worker, seed, on: reactor) }
      }
      await ledger.over.wait(until: .never, on: reactor)
      #expect(ledger.accepted.count == 1000 && Set(ledger.accepted).count == 1000)
      let completed = "millrace.task where state = 2 and result = convert_to(id::text, 'UTF8')"
      #expect(try await queue.count(completed, on: reactor) == 1000)
      #expect(try await queue.strays(on: reactor) == 0)
      queue.close(on: reactor)
    }
  }
}

/// Workers that claim, sometimes lose their leases to each other, and complete anyway.
private final class Ledger {
  var accepted: [Int64] = []
  var finished = 0
  let over = Pause()

  func work(_ queue: QueueHarness, _ worker: TestWorker, _ seed: UInt64, on reactor: isolated Reactor) async {
    do { try await run(queue, worker, seed, on: reactor) } catch { Issue.record("\(error)") }
    finished += 1
    if finished == 4 { over.end() }
  }

  private func run(
    _ queue: QueueHarness, _ worker: TestWorker, _ seed: UInt64, on reactor: isolated Reactor
  ) async throws {
    var random = SeededRandom(seed: seed)
    var held: [ClaimedTask] = []
    while accepted.count < 1000 {
      held += try await worker.claim([1, 16, 64].randomElement(using: &random)!, on: reactor)
      if held.isEmpty { await reactor.sleep(for: .milliseconds(1)) }
      if Int.random(in: 0..<8, using: &random) == 0 {
        // Not awaited: it meets claims and completions of all four.
        Task.immediate(executorPreference: reactor.queue) {
          try? await queue.run("select millrace.rescue(array(select id from millrace.lease limit 2))", on: reactor)
        }
      }
      if Int.random(in: 0..<3, using: &random) == 0 { continue }
      accepted += try await worker.complete(held, on: reactor)
      held.removeAll()
    }
  }
}
