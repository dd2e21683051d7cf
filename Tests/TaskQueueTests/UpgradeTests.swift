import Basics
import Postgres
import Reactor
import TestSupport
import Testing

@testable import TaskQueue

extension QueueHarness {
  /// Fills tables of the first two steps as their program would have: twenty partitions, of which the old ones hold
  /// tasks that are over; a secret task that waits, one that runs, one that is to be tried again; and their keys.
  fileprivate func fill(on reactor: isolated Reactor) async throws {
    for number in 0..<20 {
      try await run("select setval('millrace.task_id', \(number * 5_000_000 + 1))", on: reactor)
      try await run("select millrace.ensure_partitions()", on: reactor)
    }
    try await run(
      """
      insert into millrace.task (id, kind, lane, state, result, finished_at)
      select n * 5000000 + i, 'md5', 1, 2, '{}', now() from generate_series(1, 18) n, generate_series(1, 5) i
      """, on: reactor)
    try await run(
      """
      insert into millrace.task (id, kind, lane, payload)
      values (95000002, 'argon2', 1, 'sealed'), (95000003, 'md5', 1, 'b'), (95000004, 'md5', 1, 'c')
      """, on: reactor)
    try await run("insert into millrace.ready (lane, seq, id) values (1, 1000, 95000002)", on: reactor)
    try await run("select setval('millrace.ready_seq', 1000)", on: reactor)
    try await run("insert into millrace.worker (name) values ('old')", on: reactor)
    try await run("insert into millrace.lease (worker_id, ids) values (1, array[95000003])", on: reactor)
    try await run(
      "insert into millrace.scheduled (id, run_at, lane) values (95000004, now() + interval '1 hour', 1)", on: reactor)
    try await run(
      "insert into millrace.unique_key values ('\\x01', 95000003, now() + interval '1 day')", on: reactor)
    try await run("select setval('millrace.task_id', 95000004)", on: reactor)
  }

  fileprivate func migrate(on reactor: isolated Reactor) async throws(QueueError) -> [Int32] {
    try await QueueSchema.migrate(configuration, pool: pool, log: quiet, on: reactor)
  }

  /// Waits until so many rows are in `table` as `isEnough` wants; PostgreSQL has no event for that.
  fileprivate func wait(
    until isEnough: (Int64) -> Bool, _ table: String, on reactor: isolated Reactor
  ) async throws {
    for _ in 0..<4000 {
      if isEnough(try await count(table, on: reactor)) { return }
      await reactor.sleep(for: .milliseconds(5))
    }
    Issue.record("\(table) does not come to have the rows that are awaited")
  }

  fileprivate func bounds(_ condition: String, on reactor: isolated Reactor) async throws -> Int64 {
    try await count("pg_constraint where conname = 'bound' and \(condition)", on: reactor)
  }
}

@Suite(.serialized, .timeLimit(.minutes(5))) struct UpgradeTests {
  @Test func `tables of the second step are taken over with everything that is open in them`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("upgrade", steps: 2, on: reactor)
      try await queue.fill(on: reactor)
      #expect(try await queue.migrate(on: reactor) == [3, 4, 5, 6, 7, 8])
      #expect(try await queue.migrate(on: reactor) == [])
      let worker = await queue.worker(on: reactor)
      // The secret is forgotten when its task is over.
      let secret = try await worker.claim(1, on: reactor)
      #expect(secret.map(\.id) == [95_000_002] && secret[0].payload == Array("sealed".utf8))
      _ = try await worker.complete([secret[0].failed("no")], on: reactor)
      #expect(try await queue.count("millrace.task where secret and payload is null", on: reactor) == 1)
      #expect(try await queue.count("millrace.task where secret", on: reactor) == 1)
      // The running one is completed under its old lease.
      #expect(try await queue.client.task(95_000_003, on: reactor)?.state == .running)
      let lease = try await queue.number("select id from millrace.lease", on: reactor)
      let running = Completion(id: 95_000_003, lease: lease, outcome: .completed(result: []))
      #expect(try await worker.complete([running], on: reactor) == [95_000_003])
      // The scheduled one comes.
      try await queue.run("update millrace.scheduled set run_at = now()", on: reactor)
      _ = try await worker.queue.promote(on: reactor)
      #expect(try await worker.claim(16, on: reactor).map(\.id) == [95_000_004])
      // Places in line go on behind the old ones, and so do ids; keys begin anew.
      let new = try await queue.queue(queue.submission("new"), on: reactor)
      #expect(new > 95_000_004)
      #expect(try await queue.client.submit(queue.submission("new"), on: reactor) == .underWay(id: new, state: .queued))
      // What is full makes room, however much there is, and is still read.
      #expect(try await worker.queue.maintain(retentionSeconds: 1_000_000, on: reactor) == 0)
      #expect(try await queue.count("pg_inherits where inhparent = 'millrace.task'::regclass", on: reactor) == 4)
      #expect(try await queue.client.task(5_000_001, on: reactor)?.state == .completed)
      #expect(try await queue.strays(on: reactor) == 0)
      queue.close(on: reactor)
    }
  }

  @Test func `tables of the third step are taken over while their workers run`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("third", steps: 3, on: reactor)
      try await queue.run("insert into millrace.worker (name, beats) values ('old', 7)", on: reactor)
      try await queue.run(
        "insert into millrace.task (id, kind, lane, payload) values (1, 'md5', 1, 'a'), (2, 'md5', 1, 'b')", on: reactor
      )
      try await queue.run("insert into millrace.ready (lane, seq, id) values (1, 1, 1)", on: reactor)
      try await queue.run("insert into millrace.lease (worker_id, ids) values (1, array[2])", on: reactor)
      try await queue.run("select setval('millrace.task_id', 2)", on: reactor)
      #expect(try await queue.migrate(on: reactor) == [4, 5, 6, 7, 8])
      let worker = await queue.worker(on: reactor)
      #expect(try await worker.claim(16, on: reactor).map(\.id) == [1])
      #expect(
        try await queue.count("millrace.worker where beats = 7 and not has_left", on: reactor) == 1)
      #expect(try await worker.queue.maintain(retentionSeconds: 1_000_000, on: reactor) == 0)
      queue.close(on: reactor)
    }
  }

  @Test func `workers of the program before go on while the tables are upgraded, and lose nothing`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("rolling", steps: 3, on: reactor)
      let old = OldWorker(queue.inspector)
      for id in 1...4 {
        try await queue.run("insert into millrace.task (id, kind, lane) values (\(id), 'md5', 1)", on: reactor)
        try await queue.run("insert into millrace.ready (lane, seq, id) values (1, \(id), \(id))", on: reactor)
      }
      try await queue.run("select setval('millrace.task_id', 4)", on: reactor)
      try await old.call("register", on: reactor)
      // All that it calls it has called before, so that its session has it prepared.
      for name in ["beat", "tell", "take over nobody", "promote", "mute", "maintain", "announce", "withdraw"] {
        try await old.call(name, on: reactor)
      }
      #expect(try await old.call("claim", on: reactor).int64(0, 1) == 1)
      #expect(try await queue.migrate(on: reactor) == [4, 5, 6, 7, 8])
      let new = await queue.worker("new", on: reactor)
      // It computes for longer than a lease, and beats.
      try await queue.run("update millrace.worker set heartbeat_at = now() - interval '40 s' where id = 1", on: reactor)
      try await queue.run("update millrace.lease set claimed_at = now() - interval '40 s'", on: reactor)
      #expect(try await new.beat(on: reactor).suspects.map(\.worker) == [1])
      try await old.call("beat", on: reactor)
      #expect(try await new.beat(on: reactor).suspects.isEmpty)
      let living = "millrace.worker where id = 1 and beats = 2 and promised = 5 and not rests and not has_left"
      #expect(try await queue.count(living, on: reactor) == 1)
      #expect(try await old.call("complete", on: reactor).int64(0, 0) == 1)
      // What it would claim is others' now, and it is told so; what it has it may give back.
      #expect(await old.isRefused("claim", on: reactor))
      #expect(try await queue.count("millrace.worker where id = 1 and wanted = 1", on: reactor) == 1)
      try await queue.run("delete from millrace.ready_batch where ids = '{2}'", on: reactor)
      try await queue.run("insert into millrace.lease (worker_id, ids) values (1, array[2])", on: reactor)
      try await old.call("release", on: reactor)
      // The rest of what it does for itself and for all.
      for name in ["announce", "tell", "withdraw", "promote", "mute"] { try await old.call(name, on: reactor) }
      #expect(try await old.call("maintain", on: reactor).int64(0, 2) == 0)
      // Its session, which had prepared the call before, tells those who sleep in the new table.
      let row = "insert into millrace.sleeper (slot_group, worker_id, number) values (0, \(new.queue.id!), 5)"
      try await queue.run(row, on: reactor)
      try await old.call("tell", on: reactor)
      #expect(try await queue.count("millrace.sleeper", on: reactor) == 0)
      #expect(try await queue.count("millrace.ready", on: reactor) == 3)
      // A worker has died of which it takes over, unless that has claimed since.
      try await queue.run(
        "insert into millrace.worker (id, name, beats, heartbeat_at) overriding system value "
          + "values (99, 'dead', 3, now() - interval '10 s')", on: reactor)
      #expect(try await queue.number("select 1 from millrace.ready where id = 3", on: reactor) == 1)
      try await queue.run("delete from millrace.ready_batch where ids = '{3}'", on: reactor)
      try await queue.run("insert into millrace.lease (worker_id, ids) values (99, array[3])", on: reactor)
      #expect(try await old.call("take over", on: reactor).int64(0, 0) == 0)
      try await queue.run("update millrace.lease set claimed_at = now() - interval '10 s'", on: reactor)
      let look = try await old.call("beat", on: reactor)
      #expect(look.text(0, 1) == "99" && look.text(0, 4) == "1")
      #expect(try await old.call("take over", on: reactor).int64(0, 0) == 1)
      try await old.call("leave", on: reactor)
      #expect(try await queue.count("millrace.worker", on: reactor) == 1)
      #expect(try await queue.strays(on: reactor) == 0)
      queue.close(on: reactor)
    }
  }

  @Test func `tables of the seventh step keep their line, and take what programs of before submit`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("seventh", steps: 7, on: reactor)
      for id in 1...3 {
        try await queue.run("insert into millrace.task (id, kind, lane) values (\(id), 'md5', 1)", on: reactor)
      }
      try await queue.run("insert into millrace.ready (lane, seq, id) values (1, 2, 1), (1, 1, 2)", on: reactor)
      try await queue.run(
        "insert into millrace.worker (name, wanted) values ('ends', 0), ('resumed', 0), ('old', 0), ('ends too', 2)",
        on: reactor)
      try await queue.run(
        "insert into millrace.worker_control (worker_id, wanted) values (1, 2), (2, 0)", on: reactor)
      try await queue.run("select setval('millrace.task_id', 3)", on: reactor)
      #expect(try await queue.migrate(on: reactor) == [8])
      // As the program of the seventh step has it in its statement.
      try await queue.run(
        """
        with fresh as (select 1 as lane, 3 as id), made_ready as (
          insert into millrace.ready (lane, seq, id) select lane, id, id from fresh
        )
        select id from fresh
        """, on: reactor)
      #expect(try await queue.count("millrace.ready", on: reactor) == 3)
      let wanted =
        "select string_agg(coalesce(c.wanted, w.wanted)::text, '' order by w.id)::bigint from millrace.worker w "
        + "left join millrace.worker_control c on c.worker_id = w.id"
      #expect(try await queue.number(wanted, on: reactor) == 2112)
      // One that was taken for dead is in the table again with its next beat, and is told the same.
      #expect(try await queue.count("millrace.worker_control where worker_id = 3 and wanted = 1", on: reactor) == 1)
      let worker = await queue.worker(on: reactor)
      #expect(try await worker.claim(1, on: reactor).map(\.id) == [2])
      #expect(try await worker.claim(16, on: reactor).map(\.id).sorted() == [1, 3])
      queue.close(on: reactor)
    }
  }

  @Test func `a worker says that it waits for the tables of its program, and then begins`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("early", steps: QueueSchema.migrations.count - 1, on: reactor)
      let worker = queue.startWorker("early", on: reactor)
      while worker.queue.missing == ["PostgreSQL"] { await reactor.sleep(for: .milliseconds(1)) }
      #expect(worker.queue.missing == ["the schema"])
      #expect(try await queue.count("millrace.worker", on: reactor) == 0)
      _ = try await queue.migrate(on: reactor)
      while !worker.queue.missing.isEmpty { await reactor.sleep(for: .milliseconds(1)) }
      let id = try await queue.queue(queue.submission("x"), on: reactor)
      _ = try await worker.beat(on: reactor)
      #expect(try await worker.claim(1, on: reactor).map(\.id) == [id])
      queue.close(on: reactor)
    }
  }

  @Test func `an upgrade waits for who is in its way, and goes on where it was broken off`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("broken", steps: 2, on: reactor)
      try await queue.fill(on: reactor)
      // Somebody reads a partition in the middle, for longer than one try takes.
      try await queue.run("begin", on: reactor)
      try await queue.run("lock table millrace.task_9 in access share mode", on: reactor)
      let upgrades = Upgrades()
      upgrades.begin(queue, on: reactor)
      // Of another table it may wait for a vacuum to give way.
      let waiting = "\(queue.locks) and not granted and relation = 'millrace.task_9'::regclass"
      try await queue.wait(until: { $0 > 0 }, waiting, on: reactor)
      #expect(try await queue.bounds("convalidated", on: reactor) == 9)
      try await queue.run("select pg_terminate_backend(pid) from \(waiting)", on: reactor)
      await upgrades.wait(for: 1, on: reactor)
      #expect(throws: QueueError.self) { try upgrades.outcomes[0].get() }
      #expect(try await queue.bounds("true", on: reactor) == 9)
      upgrades.begin(queue, on: reactor)
      // It waits for a moment, tries again, and gets on when the way is free.
      try await queue.wait(until: { $0 > 0 }, waiting, on: reactor)
      try await queue.wait(until: { $0 == 0 }, waiting, on: reactor)
      try await queue.run("commit", on: reactor)
      await upgrades.wait(for: 2, on: reactor)
      #expect(try upgrades.outcomes[1].get() == [3, 4, 5, 6, 7, 8])
      queue.close(on: reactor)
    }
  }
}

/// What a worker of the third step's program calls, on the session that is its lifeline.
private final class OldWorker {
  private let connection: PostgresConnection

  init(_ connection: PostgresConnection) {
    self.connection = connection
  }

  private static let calls = [
    "register": "with w as (insert into millrace.worker (name) values ('old') returning id) "
      + "select pg_advisory_lock(1296649047, id::integer) from w",
    "beat": "select uptime, workers, beats, silent, gone, next_due, ready_lanes, ready_seqs "
      + "from millrace.beat(1, 'old', array(select id from millrace.lease), 30, array[0]::smallint[], true)",
    "take over": "select millrace.take_over(array[99]::bigint[], array[3]::bigint[])",
    "take over nobody": "select millrace.take_over(array[98]::bigint[], array[3]::bigint[])",
    "mute": "select millrace.mute(array[98]::bigint[])",
    "promote": "select promoted, next_due from millrace.promote()",
    "maintain": "select moved, dropped, deleted from millrace.maintain(1000000)",
    "tell": "select millrace.tell(array[0]::smallint[], array[1]::bigint[], array[1]::bigint[])",
    "release": "select millrace.release(id, ids) from millrace.lease where worker_id = 1",
    "announce": "insert into millrace.idle_worker as i (worker_id, slot_group, number) values (1, 0, 1) "
      + "on conflict (slot_group, worker_id) do update set number = greatest(i.number, excluded.number)",
    "withdraw": "delete from millrace.idle_worker where worker_id = 1 and slot_group = 0 and number <= 1",
    "claim": """
    with picked as materialized (
      delete from millrace.ready where ctid = any(array(
        select r.ctid from millrace.ready r where r.lane = 1 and r.seq >= 0
        order by r.lane, r.seq limit 1 for update skip locked)) returning id, seq
    ), leased as materialized (
      insert into millrace.lease (worker_id, lane, ids)
      select 1, 1, array_agg(id) from picked having count(*) > 0 returning id, lane
    )
    select l.id, t.id from picked p cross join leased l
      cross join lateral (select * from millrace.task t where t.id = p.id offset 0) t
    """,
    "complete": """
    with gone as (delete from millrace.lease where worker_id = 1 returning ids),
      done as (select unnest(ids) as id from gone)
    update millrace.task t set state = 2, attempt = t.attempt + 1, finished_at = now(), result = '{}'
    from done where t.id = done.id and t.state = 0 returning t.id
    """,
    "leave": "with gone as (delete from millrace.worker where id = 1) "
      + "delete from millrace.idle_worker where worker_id = 1",
  ]

  /// Whether PostgreSQL refuses the call that is so named.
  func isRefused(_ name: String, on reactor: isolated Reactor) async -> Bool {
    do {
      try await call(name, on: reactor)
      return false
    } catch {
      return true
    }
  }

  /// Makes the call that is so named.
  @discardableResult
  func call(_ name: String, on reactor: isolated Reactor) async throws -> PostgresResult {
    let statement = PostgresStatement("old_\(name.replacing(" ", with: "_"))", OldWorker.calls[name]!)
    return try await connection.execute(statement, on: reactor)
  }
}

private final class Upgrades {
  var outcomes: [Result<[Int32], QueueError>] = []
  private let news = Pause()

  func begin(_ queue: QueueHarness, on reactor: isolated Reactor) {
    Task.immediate(executorPreference: reactor.queue) {
      do throws(QueueError) {
        outcomes.append(.success(try await queue.migrate(on: reactor)))
      } catch {
        outcomes.append(.failure(error))
      }
      news.end()
    }
  }

  func wait(for count: Int, on reactor: isolated Reactor) async {
    while outcomes.count < count { await news.wait(until: .never, on: reactor) }
  }
}
