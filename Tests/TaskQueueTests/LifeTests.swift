import Basics
import Postgres
import Reactor
import TestSupport
import Testing

@testable import TaskQueue

extension QueueHarness {
  /// Pretends that the ids of `count` partitions were given out, as they are while the queue is busy.
  func skipPartitions(_ count: Int, on reactor: isolated Reactor) async throws {
    for _ in 0..<count {
      try await run(
        "select setval('millrace.task_id', (last_value / 5000000 + 1) * 5000000) from millrace.task_id", on: reactor)
      try await run("select millrace.ensure_partitions()", on: reactor)
    }
    try await maintain(on: reactor)
  }

  /// Does what the leader does once a minute.
  func maintain(retentionSeconds: Int = 1_000_000, on reactor: isolated Reactor) async throws {
    while try await number("select is_more::integer from millrace.maintain(\(retentionSeconds))", on: reactor) == 1 {}
  }
}

@Suite(.serialized, .timeLimit(.minutes(5))) struct LifeTests {
  @Test func `I13 tasks of a dead worker are taken over, unless it has given a sign of life since`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("takeover", on: reactor)
      let (dead, alive) = (await queue.worker("dead", on: reactor), await queue.worker("alive", on: reactor))
      for index in 0..<3 { _ = try await queue.queue(queue.submission("\(index)"), on: reactor) }
      #expect(try await dead.claim(16, on: reactor).count == 3)
      // It is late, but its session stands.
      let age = "now() - interval '7 s'"
      try await queue.run("update millrace.worker set heartbeat_at = \(age)", on: reactor)
      // To claim is a sign of life, too.
      #expect(try await alive.beat(on: reactor).suspects.isEmpty)
      try await queue.run("update millrace.lease set claimed_at = \(age)", on: reactor)
      let late = try await alive.beat(on: reactor).suspects
      #expect(late.count == 1 && !late[0].isSessionGone && late[0].silentSeconds > 6)
      dead.queue.lifeline.stop(on: reactor)
      var suspects = late
      while suspects.first?.isSessionGone == false { suspects = try await alive.beat(on: reactor).suspects }
      #expect(suspects.map(\.worker) == [dead.queue.id!])
      var verdict = TakeOverPolicy.Verdict()
      verdict.dead = suspects
      _ = try await dead.beat(on: reactor)
      #expect(try await alive.queue.carryOut(verdict, seenAt: .infinity, on: reactor) == 0)
      let look = try await alive.beat(on: reactor)
      verdict.dead = look.suspects
      try await queue.run("update millrace.lease set claimed_at = now()", on: reactor)
      #expect(try await alive.queue.carryOut(verdict, seenAt: look.clockSeconds, on: reactor) == 0)
      #expect(
        try await alive.queue.carryOut(
          verdict, seenAt: try await alive.beat(on: reactor).clockSeconds, on: reactor) == 3)
      // Everybody looks: the dead may have been told of tasks.
      await alive.hears(1, on: reactor)
      #expect(alive.heard == [WakeUp(payload: "")])
      var taken: [ClaimedTask] = []
      for _ in 0..<3 { taken += try await alive.claim(16, on: reactor) }
      #expect(taken.count == 3 && taken.allSatisfy { $0.attemptsBefore == 1 })
      queue.close(on: reactor)
    }
  }

  @Test func `a lifeline that breaks for a moment costs no attempt`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("moment", on: reactor)
      let (broken, other) = (await queue.worker("broken", on: reactor), await queue.worker("other", on: reactor))
      _ = try await queue.queue(queue.submission("x"), on: reactor)
      let tasks = try await broken.claim(1, on: reactor)
      let holder = "\(queue.locks) and locktype = 'advisory' and objid = \(broken.queue.id!)"
      var policy = TakeOverPolicy(beat: .seconds(5 as UInt64), leaseSeconds: 30)
      var (sawGone, isBack) = (false, false)
      // Until it has its lock back, others look as often as they like.
      while !isBack {
        // It comes back at once from its first end, and after a pause from the next.
        if !sawGone { try await queue.run("select pg_terminate_backend(pid) from \(holder)", on: reactor) }
        policy.sent(sendable: reactor.now, at: reactor.now)
        let beat = try await other.beat(on: reactor)
        sawGone = sawGone || beat.suspects.contains(where: \.isSessionGone)
        let verdict = policy.answered(
          beat.suspects, clockSeconds: beat.clockSeconds, serverSeconds: 3600, at: reactor.now)
        #expect(verdict.dead.isEmpty)
        #expect(try await other.queue.carryOut(verdict, seenAt: beat.clockSeconds, on: reactor) == 0)
        let isHeld = try await queue.count(holder, on: reactor) > 0
        isBack = sawGone && isHeld
      }
      #expect(try await broken.complete(tasks, on: reactor) == tasks.map(\.id))
      #expect(try await queue.client.task(tasks[0].id, on: reactor)?.attempts == 1)
      queue.close(on: reactor)
    }
  }

  @Test func `a silent worker is not notified any more, and hears that it was passed over`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("mute", on: reactor)
      let (silent, alive) = (await queue.worker("silent", on: reactor), await queue.worker("alive", on: reactor))
      _ = try await silent.claim(1, row: 4, on: reactor)
      try await queue.run("update millrace.worker set heartbeat_at = now() - interval '9 s'", on: reactor)
      var verdict = TakeOverPolicy.Verdict()
      verdict.mute = try await alive.beat(on: reactor).suspects
      #expect(try await alive.queue.carryOut(verdict, seenAt: .infinity, on: reactor) == 0)
      await silent.hears(2, on: reactor)
      await alive.hears(1, on: reactor)
      #expect(silent.words == [WakeUp.Word(group: 0, tasks: 1, row: 4)])
      #expect(try await queue.count("millrace.sleeper", on: reactor) == 0)
      #expect(try await queue.count("millrace.worker", on: reactor) == 2)
      queue.close(on: reactor)
    }
  }

  @Test func `a claim whose answer was lost is given up by the worker's own beat`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("lost", on: reactor)
      let worker = await queue.worker(on: reactor)
      for index in 0..<2 { _ = try await queue.queue(queue.submission("\(index)"), on: reactor) }
      let known = try await worker.claim(1, on: reactor)
      let lost = try await worker.claim(1, on: reactor)
      // It was never begun: that could have been its last attempt.
      try await queue.run("update millrace.task set max_attempts = 1", on: reactor)
      _ = try await worker.beat(held: [known[0].lease], leaseSeconds: 0, on: reactor)
      #expect(try await worker.complete(known, on: reactor) == [known[0].id])
      let again = try await worker.claim(16, on: reactor)
      #expect(again.map(\.id) == [lost[0].id] && again[0].attemptsBefore == 0)
      #expect(try await queue.count("millrace.ready where lane % 8 = 7", on: reactor) == 0)
      queue.close(on: reactor)
    }
  }

  @Test func `who has left stays away, also if a beat of its comes late`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("leaves", on: reactor)
      let (leaver, other) = (await queue.worker("leaver", on: reactor), await queue.worker("other", on: reactor))
      for text in ["x", "y"] { _ = try await queue.queue(queue.submission(text), on: reactor) }
      let held = try await leaver.claim(1, on: reactor)[0]
      let lost = try await leaver.claim(1, on: reactor)[0]
      #expect(try await queue.client.livingWorkers(until: .never, on: reactor) == 2)
      try await leaver.queue.leave(held: [held.lease], until: .never, on: reactor)
      // What it does not know of was never begun, and is there again at once.
      let again = try await other.claim(2, on: reactor)
      #expect(again.map(\.id) == [lost.id] && again[0].attemptsBefore == 0)
      _ = try await leaver.beat(on: reactor)
      #expect(try await queue.client.livingWorkers(until: .never, on: reactor) == 1)
      leaver.queue.close(on: reactor)
      #expect(try await other.beat(on: reactor).suspects.isEmpty)
      // What it held belongs to nobody.
      try await queue.run("update millrace.lease set claimed_at = now() - interval '8 s'", on: reactor)
      _ = try await other.beat(on: reactor)
      #expect(try await other.claim(1, on: reactor).map(\.id) == [held.id])
      // Whoever was taken for dead by mistake is there again, and can leave.
      try await queue.run("delete from millrace.worker", on: reactor)
      _ = try await other.beat(on: reactor)
      #expect(try await queue.client.livingWorkers(until: .never, on: reactor) == 1)
      try await queue.run("delete from millrace.worker", on: reactor)
      try await other.queue.leave(held: [], until: .never, on: reactor)
      _ = try await other.beat(on: reactor)
      #expect(try await queue.client.livingWorkers(until: .never, on: reactor) == 0)
      // An announcement of its that comes late does not stay.
      try await queue.run(
        "insert into millrace.sleeper (worker_id, slot_group, number) values (\(other.queue.id!), 0, 1)", on: reactor)
      _ = try await other.queue.maintain(retentionSeconds: 60, on: reactor)
      #expect(try await queue.count("millrace.sleeper", on: reactor) == 0)
      // The mark goes when nothing of the worker's can be under way.
      try await queue.run("update millrace.worker set heartbeat_at = now() - interval '11 min'", on: reactor)
      try await queue.maintain(retentionSeconds: 60, on: reactor)
      #expect(try await queue.count("millrace.worker", on: reactor) == 0)
      queue.close(on: reactor)
    }
  }

  @Test func `workers at rest take turns, so that one of them looks every five seconds`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("turns", on: reactor)
      var workers: [TestWorker] = []
      for name in ["one", "two", "three", "four"] { workers.append(await queue.worker(name, on: reactor)) }
      func turn(_ index: Int, after seconds: Double) async throws -> Double {
        try await queue.run(
          "update millrace.worker set heartbeat_at = heartbeat_at - make_interval(secs => \(seconds))", on: reactor)
        // A machine may be busy for a second or two between two beats.
        return (try await workers[index].beat(isAtRest: true, on: reactor).promisedSeconds / 5).rounded() * 5
      }
      // One that works is no help to those at rest.
      _ = try await workers[3].beat(on: reactor)
      #expect(try await turn(0, after: 0) == 5)
      #expect(try await turn(1, after: 0) == 10)
      #expect(try await turn(2, after: 0) == 15)
      #expect(try await turn(0, after: 5) == 15)
      #expect(try await turn(1, after: 5) == 15)
      // It has missed its turn, and nobody counts on it any more.
      #expect(try await turn(0, after: 10) == 10)
      #expect(try await turn(3, after: 0) == 15)
      // The longest there is, however many there are.
      #expect(try await turn(2, after: 0) == 15)
      // Of one that was killed nobody expects a look.
      workers[1].queue.lifeline.stop(on: reactor)
      let holder = "\(queue.locks) and locktype = 'advisory' and objid = \(workers[1].queue.id!)"
      while try await queue.count(holder, on: reactor) > 0 { await reactor.sleep(for: .milliseconds(1)) }
      #expect(try await turn(0, after: 0) == 5)
      #expect(try await turn(3, after: 0) == 10)
      // One that works beats as before; one at rest is not late before the time it has promised.
      #expect(try await workers[1].beat(on: reactor).promisedSeconds == 5)
      try await queue.run("update millrace.worker set heartbeat_at = now() - interval '8 s'", on: reactor)
      #expect(try await workers[0].beat(on: reactor).suspects.map(\.worker) == [workers[1].queue.id!])
      queue.close(on: reactor)
    }
  }

  @Test func `one worker tests the hearing of all, and who does not hear makes a new lifeline`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("tests", on: reactor)
      let (one, two) = (await queue.worker("one", on: reactor), await queue.worker("two", on: reactor))
      let before = [one, two].map(\.queue.lifeline.hearing.lastHeard)
      _ = try await one.beat(testAfter: .seconds(0.0), on: reactor)
      for (worker, time) in zip([one, two], before) {
        while worker.queue.lifeline.hearing.lastHeard == time { await reactor.sleep(for: .milliseconds(1)) }
      }
      #expect(one.heard.isEmpty && two.heard.isEmpty)
      // A test that was answered long ago when the next beat is due has not been heard.
      let lifeline = one.queue.lifeline
      let tests = [0, 1].map { _ in
        defer { lifeline.testAnswered(at: MonotonicTime(nanoseconds: 0)) }
        return lifeline.beginTest(afterQuiet: .seconds(0.0), on: reactor)
      }
      #expect(tests == [true, false])
      await one.deafens.wait(until: .never, on: reactor)
      await one.listens.wait(until: .never, on: reactor)
      queue.close(on: reactor)
    }
  }

  @Test func `only one worker looks after partitions, and another one when that is gone`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("leader", on: reactor)
      let (one, two) = (await queue.worker("one", on: reactor), await queue.worker("two", on: reactor))
      #expect(try await one.queue.lifeline.leads(on: reactor))
      #expect(try await !two.queue.lifeline.leads(on: reactor))
      #expect(try await one.queue.lifeline.leads(on: reactor))
      one.queue.close(on: reactor)
      while try await !two.queue.lifeline.leads(on: reactor) { await reactor.sleep(for: .milliseconds(1)) }
      queue.close(on: reactor)
    }
  }

  @Test func `old partitions make room, are still read and found, and go when their time is over`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("retention", on: reactor)
      let worker = await queue.worker(on: reactor)
      let id = try await queue.queue(queue.submission("old"), on: reactor)
      let waiting = try await queue.queue(queue.submission("waiting"), on: reactor)
      let tasks = try await worker.claim(16, on: reactor)
      let retry = Completion(id: waiting, lease: tasks[1].lease, outcome: .retry(error: "later", afterSeconds: 60))
      _ = try await worker.complete([tasks[0].completed("{}"), retry], on: reactor)
      try await queue.skipPartitions(5, on: reactor)
      // One of its tasks is not over.
      #expect(try await queue.count("millrace.task where id = \(id)", on: reactor) == 1)
      let parts = "pg_inherits where inhparent = 'millrace.task'::regclass"
      #expect(try await queue.count(parts, on: reactor) == 5)
      try await queue.run("update millrace.scheduled set run_at = now()", on: reactor)
      _ = try await worker.queue.promote(on: reactor)
      #expect(try await worker.complete(try await worker.claim(1, on: reactor), on: reactor) == [waiting])
      try await queue.maintain(on: reactor)
      #expect(try await queue.count(parts, on: reactor) == 4)
      #expect(try await queue.client.task(id, on: reactor)?.result == Array("{}".utf8))
      guard case .completed(id, _, _) = try await queue.client.submit(queue.submission("old"), on: reactor) else {
        Issue.record("the result of the past was not found")
        return
      }
      // Half of the time is over, and then all of it.
      #expect(try await worker.queue.maintain(retentionSeconds: 60, on: reactor) == 0)
      #expect(try await queue.client.task(id, on: reactor) != nil)
      try await queue.run(
        "update millrace.task_part set past_since = now() - interval '61 s' where past_since is not null", on: reactor)
      #expect(try await worker.queue.maintain(retentionSeconds: 60, on: reactor) == 0)
      #expect(try await queue.client.task(id, on: reactor) == nil)
      #expect(try await queue.count("millrace.task_past", on: reactor) == 0)
      // The key is still there and its task is not: it is a new one.
      #expect(try await queue.queue(queue.submission("old"), on: reactor) > waiting)
      queue.close(on: reactor)
    }
  }

  @Test func `where tasks are few the oldest that are over go one by one`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("few", on: reactor)
      let worker = await queue.worker(on: reactor)
      for index in 0..<3 { _ = try await queue.queue(queue.submission("\(index)"), on: reactor) }
      let tasks = try await worker.claim(2, on: reactor)
      _ = try await worker.complete(tasks, on: reactor)
      try await queue.run("update millrace.task set finished_at = now() - interval '61 s' where id = 1", on: reactor)
      #expect(try await worker.queue.maintain(retentionSeconds: 60, on: reactor) == 0)
      #expect(try await queue.number("select min(id) from millrace.task", on: reactor) == 2)
      #expect(try await queue.count("millrace.task", on: reactor) == 2)
      queue.close(on: reactor)
    }
  }

  @Test func `partitions are moved although much is to be deleted one by one, and that goes on beside what is open`()
    async throws
  {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("many", on: reactor)
      func fill(_ first: Int, _ last: Int) async throws {
        try await queue.run(
          "insert into millrace.task (id, kind, lane, state, finished_at) "
            + "select i, 'md5', 1, 2, now() - interval '61 s' from generate_series(\(first), \(last)) i", on: reactor)
      }
      func round(_ column: String) async throws -> Int64 {
        try await queue.number("select \(column) from millrace.maintain(60)", on: reactor)
      }
      try await fill(1, 2000)
      for _ in 0..<2 {
        try await queue.run(
          "select setval('millrace.task_id', (last_value / 5000000 + 1) * 5000000) from millrace.task_id", on: reactor)
        try await queue.run("select millrace.ensure_partitions()", on: reactor)
      }
      #expect(try await round("moved * 10000 + deleted") == 10000)
      // One of the oldest is not over.
      try await fill(5_000_001, 5_004_000)
      try await queue.run("update millrace.task set state = 0, finished_at = null where id = 5000007", on: reactor)
      try await queue.run(
        "insert into millrace.scheduled values (5000007, now() + interval '1 hour', 1)", on: reactor)
      #expect(try await round("deleted * 2 + is_more::integer") == 1999 * 2 + 1)
      #expect(try await round("deleted * 2 + is_more::integer") == 1999 * 2 + 1)
      #expect(try await round("deleted * 2 + is_more::integer") == 1 * 2)
      #expect(try await queue.texts("select id::text from millrace.task", on: reactor) == ["5000007"])
      queue.close(on: reactor)
    }
  }

  @Test func `keys are those of today and yesterday`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("days", on: reactor)
      let id = try await queue.queue(queue.submission("x"), on: reactor)
      func age(_ days: Int) async throws {
        let today = try await queue.number("millrace.today()", on: reactor)
        let (old, new) = ("millrace.unique_key_\(today)", today - Int64(days))
        let part = "partition of millrace.unique_key for values in (\(new))"
        try await queue.run("create table if not exists millrace.unique_key_\(new) \(part)", on: reactor)
        try await queue.run(
          """
          with k as (delete from \(old) returning *)
          insert into millrace.unique_key_\(new) select task_id, \(new), digest from k
          """, on: reactor)
      }
      try await age(1)
      #expect(try await queue.client.submit(queue.submission("x"), on: reactor) == .underWay(id: id, state: .queued))
      let other = try await queue.queue(queue.submission("y"), on: reactor)
      try await age(2)
      #expect(try await queue.queue(queue.submission("y"), on: reactor) > other)
      try await queue.maintain(on: reactor)
      let keys = "pg_inherits where inhparent = 'millrace.unique_key'::regclass"
      #expect(try await queue.count(keys, on: reactor) == 3)
      queue.close(on: reactor)
    }
  }

  @Test func `maintenance never holds two of the tables that a submission needs, and says what was in its way`()
    async throws
  {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("inorder", on: reactor)
      let worker = await queue.worker(on: reactor)
      // There is a partition to move and one of keys to drop.
      for _ in 0..<5 {
        try await queue.run(
          "select setval('millrace.task_id', (last_value / 5000000 + 1) * 5000000) from millrace.task_id", on: reactor)
        try await queue.run("select millrace.ensure_partitions()", on: reactor)
      }
      let old = try await queue.number("millrace.today() - 3", on: reactor)
      try await queue.run(
        "create table millrace.unique_key_\(old) partition of millrace.unique_key for values in (\(old))", on: reactor)
      let held = """
        pg_locks where locktype = 'relation' and mode = 'AccessExclusiveLock' and pid = pg_backend_pid()
          and relation in ('millrace.task'::regclass, 'millrace.unique_key'::regclass)
        """
      for _ in 0..<2 {
        try await queue.run("begin", on: reactor)
        #expect(try await queue.number("select is_more::integer from millrace.maintain(60)", on: reactor) == 1)
        #expect(try await queue.count(held, on: reactor) == 1)
        try await queue.run("rollback", on: reactor)
        try await queue.run("drop table if exists millrace.unique_key_\(old)", on: reactor)
      }
      // Somebody submits, for longer than it waits.
      try await queue.run("begin", on: reactor)
      try await queue.run("lock table millrace.task in row exclusive mode", on: reactor)
      #expect(try await worker.queue.maintain(retentionSeconds: 60, on: reactor) == 1)
      try await queue.run("commit", on: reactor)
      #expect(try await worker.queue.maintain(retentionSeconds: 60, on: reactor) == 0)
      #expect(try await queue.count("millrace.task_part where past_since is not null", on: reactor) == 4)
      queue.close(on: reactor)
    }
  }
}
