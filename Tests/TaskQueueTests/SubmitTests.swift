import Basics
import Postgres
import Reactor
import Telemetry
import TestSupport
import Testing

@testable import TaskQueue

@Suite(.serialized, .timeLimit(.minutes(5))) struct SubmitTests {
  @Test func `a read that comes while another waits for a connection in vain fails with it`() async throws {
    try await onReactor { reactor in
      let client = QueueClient(QueueConfiguration(), pool: pool, log: quiet, metrics: Metrics())
      let began = reactor.now
      var failures: [TimeSpan] = []
      let over = Pause()
      for id in 1...3 as ClosedRange<Int64> {
        Task.immediate(executorPreference: reactor.queue) {
          do { _ = try await client.task(id, on: reactor) } catch { failures.append(reactor.now.since(began)) }
          if failures.count == 3 { over.end() }
        }
        await reactor.sleep(for: .milliseconds(300))
      }
      await over.wait(until: .never, on: reactor)
      #expect(failures.allSatisfy { $0 < .seconds(4 as UInt64) }, "\(failures.map(\.milliseconds))")
      client.close(on: reactor)
    }
  }

  @Test func `a thousand identical submissions over three processes make one task`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("identical", on: reactor)
      // Submissions coalesce in their own process; three of them meet only in the database.
      let clients = (0..<3).map { _ in queue.anotherClient(on: reactor) }
      let outcomes = Outcomes()
      for index in 0..<1000 {
        outcomes.submit(queue.submission("same"), clients[index % 3], on: reactor)
        if index % 50 == 0 { await reactor.sleep(for: .milliseconds(1)) }
      }
      await outcomes.wait(for: 1000, on: reactor)
      #expect(outcomes.errors.isEmpty && outcomes.ids.count == 1 && outcomes.fresh >= 1)
      #expect(try await queue.count("millrace.task", on: reactor) == 1)
      #expect(
        try await queue.count(
          "pg_stat_activity where datname = current_database() and query like '%unique_key%'", on: reactor) >= 3)
      queue.close(on: reactor)
    }
  }

  @Test func `a completed task is found with its result, a failed one is begun anew and keeps its input`()
    async throws
  {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("found", on: reactor)
      let worker = await queue.worker(on: reactor)
      let (done, bad) = (queue.submission("done"), queue.submission("bad", attempts: 1))
      let doneId = try await queue.queue(done, on: reactor)
      let badId = try await queue.queue(bad, on: reactor)
      let secretId = try await queue.queue(queue.submission("secret", unique: false, secret: true), on: reactor)
      #expect(try await queue.client.submit(done, on: reactor) == .underWay(id: doneId, state: .queued))
      let tasks = try await worker.claim(16, on: reactor)
      #expect(tasks.map(\.id) == [doneId, badId, secretId])
      #expect(try await queue.client.submit(done, on: reactor) == .underWay(id: doneId, state: .running))
      #expect(try await queue.client.task(doneId, on: reactor)?.state == .running)
      let accepted = try await worker.complete(
        [tasks[0].completed("{}"), tasks[1].failed("no"), tasks[2].failed("no")], on: reactor)
      #expect(accepted.sorted() == [doneId, badId, secretId])
      guard case .completed(doneId, let result, let age) = try await queue.client.submit(done, on: reactor) else {
        throw QueueError(.refused, "not found")
      }
      #expect(result == Array("{}".utf8) && age >= 0 && age < 60)
      let again = try await queue.queue(bad, on: reactor)
      #expect(again > badId)
      #expect(try await queue.client.submit(bad, on: reactor) == .underWay(id: again, state: .queued))
      let record = try await queue.client.task(badId, on: reactor)
      #expect(record?.state == .failed && record?.error == "no" && record?.attempts == 1)
      #expect(try await queue.client.task(999_999, on: reactor) == nil)
      #expect(try await queue.count("millrace.lease", on: reactor) == 0)
      // What failed can be run again, unless its input is a secret.
      let kept = "millrace.task where payload is not null and state <> 0"
      #expect(try await queue.number("select min(id) from \(kept)", on: reactor) == badId)
      #expect(try await queue.count(kept, on: reactor) == 1)
      queue.close(on: reactor)
    }
  }

  @Test func `leases are looked through once a batch, however many of its tasks are under way`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("leases", on: reactor)
      let outcomes = Outcomes()
      for index in 0..<40 { outcomes.submit(queue.submission("\(index)"), queue.client, on: reactor) }
      await outcomes.wait(for: 40, on: reactor)
      #expect(try await queue.worker(on: reactor).claim(16, on: reactor).count == 16)
      for (name, value) in QueueSchema.submitterSettings { try await queue.run("set \(name) = \(value)", on: reactor) }
      let find = findAllKeys
      let read = TaskReader.byIds.sql.replacing("$1::bigint[]", with: "array(select id from millrace.task)")
        .replacing("$2", with: "1000")
      for sql in [find, read] {
        let plan = try await queue.texts("explain (analyze, timing off, costs off) \(sql)", on: reactor)
        let looks = plan.filter { $0.contains(" on lease l ") }
        #expect(looks.count == 1 && looks[0].contains("rows=1 loops=1)"), "\(plan.joined(separator: "\n"))")
      }
      queue.close(on: reactor)
    }
  }

  @Test func `a key of yesterday is found without a look at all of today's`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("yesterday", on: reactor)
      let id = try await queue.queue(queue.submission("old"), on: reactor)
      try await queue.run(
        "create table old as select task_id, day - 1 as day, digest, fingerprint from millrace.unique_key", on: reactor)
      try await queue.run("delete from millrace.unique_key", on: reactor)
      try await queue.run(
        "insert into old select 1, millrace.today() - 1, gen_random_uuid() from generate_series(1, 20)", on: reactor)
      try await queue.run("insert into millrace.unique_key table old", on: reactor)
      try await queue.run(
        "insert into millrace.unique_key "
          + "select n, millrace.today(), gen_random_uuid() from generate_series(1, 50000) n",
        on: reactor)
      for (name, value) in QueueSchema.submitterSettings { try await queue.run("set \(name) = \(value)", on: reactor) }
      let find = findAllKeys.replacing("from millrace.unique_key)", with: "from old)")
      let plan = try await queue.texts("explain (analyze, timing off, costs off, buffers) \(find)", on: reactor)
      // Apart from what planning reads.
      let execution = plan.prefix { !$0.contains("Planning") }
      let hit = execution.compactMap { $0.firstMatch(of: /shared hit=(\d+)/).flatMap { Int($0.1) } }.max()
      #expect(hit ?? .max < 500, "\(plan.joined(separator: "\n"))")
      // It stands for its task, whichever way the key is looked for.
      #expect(
        try await queue.client.submit(queue.submission("old"), on: reactor) == .underWay(id: id, state: .queued))
      queue.close(on: reactor)
    }
  }

  @Test func `a key that another process writes at the same moment stands for the other's task`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("races", on: reactor)
      let id = try await queue.queue(queue.submission("same"), on: reactor)
      try await queue.run("create table keys as table millrace.unique_key", on: reactor)
      try await queue.run("delete from millrace.unique_key", on: reactor)
      // It has written the key, and has not committed yet.
      try await queue.run("begin", on: reactor)
      try await queue.run("insert into millrace.unique_key table keys", on: reactor)
      let outcomes = Outcomes()
      outcomes.submit(queue.submission("same"), queue.client, on: reactor)
      outcomes.submit(queue.submission("other"), queue.client, on: reactor)
      try await queue.waitForLockWaiters(on: reactor)
      try await queue.run("commit", on: reactor)
      await outcomes.wait(for: 2, on: reactor)
      #expect(
        try await queue.client.submit(queue.submission("same"), on: reactor) == .underWay(id: id, state: .queued))
      #expect(try await queue.count("millrace.task", on: reactor) == 2)
      #expect(try await queue.count("millrace.ready", on: reactor) == 2)
      #expect(try await queue.strays(on: reactor) == 0)
      queue.close(on: reactor)
    }
  }

  /// What is looked for a batch of all keys.
  private var findAllKeys: String {
    SubmitStatements.find([]).0.sql
      .replacing("$1::uuid[]", with: "array(select digest from millrace.unique_key)")
      .replacing("$2::uuid[]", with: "array(select fingerprint from millrace.unique_key)")
  }

  @Test func `submissions of a crowd wait for each other, a single one leaves at once`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("crowd", on: reactor)
      let metrics = Metrics()
      let client = queue.anotherClient(holdMax: .seconds(30 as UInt64), metrics: metrics, on: reactor)
      func batches() -> UInt64 {
        metrics.counter("millrace_queue_submit_batches_total", "Statements that submitted tasks.").value
      }
      _ = try await client.submit(queue.submission("alone"), on: reactor)
      #expect(batches() == 1)
      let first = Outcomes()
      for number in 1...16 { first.submit(queue.submission("\(number)"), client, on: reactor) }
      await first.wait(for: 16, on: reactor)
      #expect(batches() == 2)
      // The first of the crowd comes back and is held; with most of the others it leaves, in one batch.
      let second = Outcomes()
      second.submit(queue.submission("17"), client, on: reactor)
      await reactor.sleep(for: TimeSpan(nanoseconds: 0))
      #expect(batches() == 2)
      for number in 18...30 { second.submit(queue.submission("\(number)"), client, on: reactor) }
      await second.wait(for: 14, on: reactor)
      #expect(batches() == 3)
      queue.close(on: reactor)
    }
  }

  @Test func `a page walks all tasks newest first, filtered or not, and on into the past`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("pages", on: reactor)
      let worker = await queue.worker(on: reactor)
      for index in 0..<16 { _ = try await queue.queue(queue.submission("\(index)"), on: reactor) }
      _ = try await worker.complete(try await worker.claim(16, on: reactor), on: reactor)
      try await queue.skipPartitions(4, on: reactor)
      for index in 16..<25 { _ = try await queue.queue(queue.submission("\(index)"), on: reactor) }
      #expect(try await queue.count("millrace.task_past", on: reactor) == 16)
      for (state, expected) in [(nil, 25), (TaskState.completed, 16), (.queued, 9), (.failed, 0)] {
        var seen: [Int64] = []
        var cursor: Int64?
        repeat {
          let page = try await queue.client.page(before: cursor, state: state, kinds: nil, limit: 4, on: reactor)
          seen += page.tasks.map(\.id)
          cursor = page.next
        } while cursor != nil
        #expect(seen.count == expected && seen == seen.sorted(by: >) && Set(seen).count == expected)
      }
      queue.close(on: reactor)
    }
  }

  @Test func `large results come a few at a time, whether asked for one by one or by the page`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("largeresults", on: reactor)
      let worker = await queue.worker(on: reactor)
      for index in 0..<12 { _ = try await queue.queue(queue.submission("\(index)"), on: reactor) }
      let bytes = [UInt8](repeating: 0x31, count: 400_000)
      let completions = try await worker.claim(16, on: reactor).map { task in
        // The oldest have next to none, and two are larger than the bound.
        let result = task.id <= 3 ? [0x31] : task.id <= 5 ? bytes + bytes + bytes : bytes
        return Completion(id: task.id, lease: task.lease, outcome: .completed(result: result))
      }
      let accepted = try await worker.complete(completions, on: reactor)
      #expect(accepted.count == 12, "\(completions.count) \(accepted)")
      var seen: [Int64] = []
      var cursor: Int64?
      repeat {
        let page = try await queue.client.page(before: cursor, state: nil, kinds: nil, limit: 200, on: reactor)
        let sizes = page.tasks.map { $0.result?.count ?? 0 }
        #expect(sizes.reduce(0, +) <= TaskQueue.Limits.readBytesMax || page.tasks.count == 1, "\(sizes)")
        seen += page.tasks.map(\.id)
        cursor = page.next
      } while cursor != nil
      #expect(seen == (1...12).reversed())
      var lookups: [Task<Int?, any Error>] = []
      for id in Int64(1)...12 {
        lookups.append(
          Task.immediate(executorPreference: reactor.queue) {
            try await queue.client.task(id, on: reactor)?.result?.count
          })
      }
      var sizes: [Int?] = []
      for lookup in lookups { sizes.append(try await lookup.value) }
      #expect(sizes == [1, 1, 1, 1_200_000, 1_200_000] + [Int](repeating: 400_000, count: 7))
      // A large one that is asked for again and again keeps no other out.
      var askers: [Task<Void, Never>] = []
      for asker in 0..<8 as Range<Int64> {
        askers.append(
          Task.immediate(executorPreference: reactor.queue) {
            // Also for what was left out, while others are given theirs.
            var turn = asker
            while !Task.isCancelled {
              _ = try? await queue.client.task(asker < 4 ? 5 : 4 + turn % 9, on: reactor)
              turn += asker
            }
          })
      }
      let old = try await queue.client.task(1, on: reactor)
      for _ in 0..<20 { #expect(try await queue.client.task(4, on: reactor)?.result?.count == 1_200_000) }
      for asker in askers { asker.cancel() }
      #expect(old?.result?.count == 1)
      queue.close(on: reactor)
    }
  }

  @Test func `a page is in order also where an old partition is kept from moving`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("straggler", on: reactor)
      let worker = await queue.worker(on: reactor)
      for index in 0..<3 { _ = try await queue.queue(queue.submission("\(index)"), on: reactor) }
      let old = try await worker.claim(16, on: reactor)
      let later = Completion(id: old[2].id, lease: old[2].lease, outcome: .retry(error: "later", afterSeconds: 3600))
      _ = try await worker.complete([old[0].completed(), old[1].completed(), later], on: reactor)
      try await queue.skipPartitions(1, on: reactor)
      for index in 3..<8 { _ = try await queue.queue(queue.submission("\(index)"), on: reactor) }
      _ = try await worker.complete(try await worker.claim(16, on: reactor), on: reactor)
      try await queue.skipPartitions(4, on: reactor)
      #expect(try await queue.count("millrace.task_past", on: reactor) == 5)
      var seen: [Int64] = []
      var cursor: Int64?
      repeat {
        let page = try await queue.client.page(before: cursor, state: nil, kinds: nil, limit: 3, on: reactor)
        seen += page.tasks.map(\.id)
        cursor = page.next
      } while cursor != nil
      #expect(seen.count == 8 && seen == seen.sorted(by: >) && Set(seen).count == 8)
      queue.close(on: reactor)
    }
  }
}
