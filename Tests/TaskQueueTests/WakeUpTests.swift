import Basics
import Postgres
import Reactor
import TestSupport
import Testing

@testable import TaskQueue

@Suite(.serialized, .timeLimit(.minutes(5))) struct WakeUpTests {
  /// Workers that sleep, each with idle row number 7.
  private func sleepers(
    _ count: Int, _ queue: QueueHarness, on reactor: isolated Reactor
  ) async throws -> [TestWorker] {
    var workers: [TestWorker] = []
    for index in 0..<count {
      let worker = await queue.worker("w\(index)", on: reactor)
      #expect(try await worker.claim(1, row: 7, on: reactor).isEmpty)
      workers.append(worker)
    }
    return workers
  }

  @Test(arguments: [(1, 2), (128, 1)])
  func `each heavy task wakes a sleeping worker of its own, quick ones together wake one`(
    tasksPerWakeUp: Int, expected: Int
  ) async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("wakers\(tasksPerWakeUp)", on: reactor)
      let workers = try await sleepers(3, queue, on: reactor)
      let outcomes = Outcomes()
      for _ in 0..<2 {
        outcomes.submit(queue.submission("", unique: false, perWakeUp: tasksPerWakeUp), queue.client, on: reactor)
      }
      await outcomes.wait(for: 2, on: reactor)
      // Notifications are delivered in the order of commits: after this one, no other of the two tasks is to come.
      while try await queue.count("millrace.sleeper", on: reactor) != 3 - expected {
        await reactor.sleep(for: .milliseconds(1))
      }
      try await queue.run("notify millrace_ready", on: reactor)
      for worker in workers { await worker.hears(worker.heard.first?.words.isEmpty == false ? 2 : 1, on: reactor) }
      let words = workers.flatMap { $0.heard.flatMap(\.words) }
      #expect(words.count == expected && words.allSatisfy { $0 == WakeUp.Word(group: 0, tasks: 2, row: 7) })
      queue.close(on: reactor)
    }
  }

  @Test func `submissions that come one by one wake one worker each, until nobody sleeps`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("each", on: reactor)
      let workers = try await sleepers(3, queue, on: reactor)
      for index in 0..<3 {
        _ = try await queue.queue(queue.submission("\(index)"), on: reactor)
        while workers.reduce(0, { $0 + $1.heard.count }) <= index { await reactor.sleep(for: .milliseconds(1)) }
      }
      #expect(workers.allSatisfy { $0.heard.count == 1 })
      #expect(try await queue.count("millrace.sleeper", on: reactor) == 0)
      queue.close(on: reactor)
    }
  }

  @Test func `a row is withdrawn up to its number, and the row of a worker without a session is passed over`()
    async throws
  {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("rows", on: reactor)
      let workers = try await sleepers(2, queue, on: reactor)
      try await workers[0].queue.withdraw(group: 0, .init(above: 0, upTo: 6), on: reactor)
      #expect(try await queue.count("millrace.sleeper", on: reactor) == 2)
      _ = try await workers[0].claim(1, row: 9, on: reactor)
      _ = try await workers[0].claim(1, row: 8, on: reactor)
      #expect(try await queue.count("millrace.sleeper where number = 9", on: reactor) == 1)
      workers[0].queue.close(on: reactor)
      let lock = "\(queue.locks) and locktype = 'advisory' and classid = \(Lifeline.lockClass)"
      while try await queue.count(lock, on: reactor) > 1 { await reactor.sleep(for: .milliseconds(1)) }
      _ = try await queue.queue(queue.submission("x"), on: reactor)
      await workers[1].hears(1, on: reactor)
      try await workers[1].queue.withdraw(group: 0, .init(above: 6, upTo: 7), on: reactor)
      #expect(try await queue.count("millrace.sleeper", on: reactor) == 1)
      queue.close(on: reactor)
    }
  }

  @Test func `sleepers are told in the order in which they went to sleep, from a floor on`()
    async throws
  {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("floors", on: reactor)
      func wake(_ workers: Int, from floor: Int64) async throws -> Int64 {
        let words = "array[0]::smallint[], array[1], array[\(workers)], array[\(floor)]"
        return try await queue.number("select unnest(millrace.wake(\(words)))", on: reactor)
      }
      #expect(try await wake(1, from: 0) == 1)
      let workers = try await sleepers(4, queue, on: reactor)
      // One that goes to sleep again stands behind the others, and only once.
      _ = try await workers[0].claim(1, row: 8, on: reactor)
      #expect(try await queue.count("millrace.sleeper", on: reactor) == 4)
      #expect(try await wake(1, from: 0) == 2)
      #expect(try await wake(1, from: 4) == 4)
      #expect(try await wake(2, from: 0) == 3)
      for floor: Int64 in [0, 6] { #expect(try await wake(1, from: floor) == 6) }
      for worker in workers { await worker.hears(1, on: reactor) }
      #expect(workers.map { $0.heard.flatMap(\.words).map(\.row) } == [[8], [7], [7], [7]])
      queue.close(on: reactor)
    }
  }

  @Test func `who looks for sleepers does not walk over dead rows before the floor, whatever statistics say`()
    async throws
  {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("dead", on: reactor)
      let read = "pg_stat_get_xact_tuples_returned('millrace.sleeper_pkey'::regclass)"
      // With the settings of who submits and of who claims.
      for settings in [QueueSchema.submitterSettings, QueueSchema.workerSettings] {
        for (name, value) in settings { try await queue.run("set \(name) = \(value)", on: reactor) }
        // Of a table that is nearly empty, as it is in a quiet system.
        try await queue.run("vacuum (analyze) millrace.sleeper", on: reactor)
        let holder = try await PostgresConnection.connectPatiently(
          queue.configuration.postgres, helpers: PostgresConnection.Helpers(pool: pool), log: quiet, on: reactor)
        _ = try await holder.execute(PostgresStatement("hold", "begin isolation level repeatable read"), on: reactor)
        _ = try await holder.execute(PostgresStatement("see", "select count(*) from millrace.worker"), on: reactor)
        let rows = "select 0, 1, g from generate_series(1, 20000) g"
        try await queue.run("insert into millrace.sleeper (slot_group, worker_id, number) \(rows)", on: reactor)
        try await queue.run("delete from millrace.sleeper", on: reactor)
        try await queue.run("vacuum millrace.sleeper", on: reactor)
        let next = try await queue.number("select last_value + 1 from millrace.sleeper_place_seq", on: reactor)
        let sleeper = try await sleepers(1, queue, on: reactor)[0]
        try await queue.run("begin", on: reactor)
        let words = "array[0]::smallint[], array[1], array[1], array[\(next)]"
        for place in [next, next + 1] {
          #expect(try await queue.number("select unnest(millrace.wake(\(words)))", on: reactor) == place)
        }
        let walked = try await queue.number("select \(read)", on: reactor)
        try await queue.run("commit", on: reactor)
        #expect(walked < 20, "\(walked)")
        await sleeper.hears(1, on: reactor)
        holder.close(on: reactor)
        sleeper.queue.close(on: reactor)
      }
      queue.close(on: reactor)
    }
  }

  @Test func `a floor from before a crash, when the line was longer, is none`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("anew", on: reactor)
      let sleeper = try await sleepers(1, queue, on: reactor)[0]
      let words = "array[0]::smallint[], array[1], array[1], array[50000]"
      #expect(try await queue.number("select unnest(millrace.wake(\(words)))", on: reactor) == 1)
      await sleeper.hears(1, on: reactor)
      queue.close(on: reactor)
    }
  }

  @Test func `workers of programs that sleep in the other table are told by all, and all by their programs`()
    async throws
  {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("former", on: reactor)
      let (old, new) = (await queue.worker("old", on: reactor), await queue.worker("new", on: reactor))
      let row = "insert into millrace.idle_worker (worker_id, slot_group, number) values (\(old.queue.id!), 0, "
      try await queue.run(row + "3)", on: reactor)
      _ = try await queue.queue(queue.submission("x"), on: reactor)
      await old.hears(1, on: reactor)
      try await queue.run(row + "4)", on: reactor)
      _ = try await new.claim(1, on: reactor)
      #expect(try await new.claim(1, row: 7, on: reactor).isEmpty)
      try await queue.run("select millrace.tell(array[0]::smallint[], array[1], array[1])", on: reactor)
      await old.hears(2, on: reactor)
      await new.hears(1, on: reactor)
      #expect(old.heard.flatMap(\.words).map(\.row) == [3, 4] && new.heard.flatMap(\.words).map(\.row) == [7])
      #expect(try await queue.count("millrace.idle_worker", on: reactor) == 0)
      queue.close(on: reactor)
    }
  }

  @Test func `released and promoted tasks are told of`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("told", on: reactor)
      for index in 0..<2 { _ = try await queue.queue(queue.submission("\(index)"), on: reactor) }
      let worker = await queue.worker(on: reactor)
      let tasks = try await worker.claim(16, on: reactor)
      let sleeper = try await sleepers(1, queue, on: reactor)[0]
      try await worker.queue.release(lease: tasks[0].lease, ids: [tasks[1].id], on: reactor)
      await sleeper.hears(1, on: reactor)
      // Released without an attempt, and the others stay where they are.
      let released = try await sleeper.claim(16, row: 8, on: reactor)
      #expect(released.map(\.id) == [tasks[1].id] && released[0].attemptsBefore == 0)
      let retry = Completion(
        id: tasks[0].id, lease: tasks[0].lease, outcome: .retry(error: "later", afterSeconds: 0.02))
      #expect(try await worker.complete([retry], on: reactor) == [tasks[0].id])
      #expect(try await queue.client.task(tasks[0].id, on: reactor)?.error == "later")
      var due: Double? = 1
      while let seconds = due {
        await reactor.sleep(for: .seconds(seconds))
        due = try await worker.queue.promote(on: reactor)
      }
      await sleeper.hears(2, on: reactor)
      let retried = try await sleeper.claim(16, on: reactor)
      #expect(retried.map(\.id) == [tasks[0].id] && retried[0].attemptsBefore == 1)
      #expect(try await queue.strays(on: reactor) == 0)
      queue.close(on: reactor)
    }
  }

  @Test func `a worker that announces itself and looks while a promotion is under way is told of it`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("promotion", on: reactor)
      _ = try await queue.queue(queue.submission("x"), on: reactor)
      let worker = await queue.worker(on: reactor)
      let task = try await worker.claim(1, on: reactor)[0]
      let retry = Completion(id: task.id, lease: task.lease, outcome: .retry(error: "later", afterSeconds: 0))
      _ = try await worker.complete([retry], on: reactor)
      try await queue.run("begin", on: reactor)
      #expect(try await queue.number("select promoted from millrace.promote()", on: reactor) == 1)
      let sleeper = try await sleepers(1, queue, on: reactor)[0]
      try await queue.run("commit", on: reactor)
      await sleeper.hears(1, on: reactor)
      #expect(try await sleeper.claim(1, on: reactor).map(\.id) == [task.id])
      queue.close(on: reactor)
    }
  }

  @Test func `a beat finds a task that no sleeper was told of, until somebody claims it`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("untold", on: reactor)
      let worker = await queue.worker(on: reactor)
      for index in 0..<2 { _ = try await queue.queue(queue.submission("\(index)"), on: reactor) }
      let beat = try await worker.beat(idleLines: [0, 2], on: reactor)
      #expect(beat.waiting.map(\.line) == [0])
      #expect(try await worker.queue.stillWaiting(beat.waiting, on: reactor) == beat.waiting)
      _ = try await worker.claim(1, on: reactor)
      #expect(try await worker.queue.stillWaiting(beat.waiting, on: reactor) == [])
      queue.close(on: reactor)
    }
  }

  @Test func `words are read from a payload, and what is none means everywhere`() {
    #expect(
      WakeUp(payload: "0:12:7,2:1:3")
        == .tasks([WakeUp.Word(group: 0, tasks: 12, row: 7), WakeUp.Word(group: 2, tasks: 1, row: 3)]))
    #expect(WakeUp(payload: "due:1500") == .due(.milliseconds(1500)) && WakeUp(payload: "cancel:17") == .cancelled(17))
    #expect(WakeUp(payload: "orders") == .orders)
    for payload in ["", "x", "0:1", "0:0:1", "99999:1:1", "a:b:c", "due:-1", "due:99999999999999", "cancel:x"] {
      #expect(WakeUp(payload: payload) == .look)
    }
  }
}
