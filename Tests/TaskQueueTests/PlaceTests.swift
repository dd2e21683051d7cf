import Basics
import Postgres
import Reactor
import TestSupport
import Testing

@testable import TaskQueue

extension QueueHarness {
  /// Submits tasks in one statement, and returns their numbers.
  fileprivate func submitTogether(
    _ count: Int, _ lane: Lane = Lane(line: 0, priority: .normal), perPlace: Int = 32, on reactor: isolated Reactor
  ) async throws -> [Int64] {
    let submissions = (0..<count).map { submission("\($0)", lane, unique: false, perPlace: perPlace) }
    let (statement, parameters) = SubmitStatements.submit(submissions)
    let result = try await inspector.execute(statement, parameters, on: reactor)
    return (0..<result.rowCount).map { result.int64($0, 1) }.sorted()
  }

  /// Begins a transaction that takes the first `count` tasks of the line.
  fileprivate func beginClaim(_ count: Int64, on reactor: isolated Reactor) async throws {
    try await run("begin", on: reactor)
    let claim = "select count(*) from millrace.claim(99, array[1]::smallint[], array[0]::bigint[], \(count))"
    #expect(try await number(claim, on: reactor) == count)
  }

  /// The rows of the line, as what stands in them.
  fileprivate func rows(on reactor: isolated Reactor) async throws -> [String] {
    try await texts(
      "select lane || ' ' || seq || ' ' || array_to_string(ids, ',') from millrace.ready_batch order by lane, seq",
      on: reactor)
  }
}

/// A row of the line that stands for several tasks.
@Suite(.serialized, .timeLimit(.minutes(5))) struct PlaceTests {
  @Test func `tasks of a lane that are submitted together share a place, as many as may`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("place_shared", on: reactor)
      let (low, high) = (Lane(line: 0, priority: .low), Lane(line: 0, priority: .high))
      let lanes = [low, high, low, low, high, low]
      let submissions = lanes.enumerated().map { queue.submission("\($0)", $1, unique: $0 != 3, perPlace: 3) }
      // One that was submitted before, and one that is for later, have no place here.
      let known = try await queue.queue(submissions[0], on: reactor)
      try await queue.run("delete from millrace.ready_batch", on: reactor)
      let later = Submission(
        kind: "test", lane: high, group: 0, payload: [], key: nil, runAt: Timestamp(microseconds: 1 << 52),
        tasksPerPlace: 3)
      let (statement, parameters) = SubmitStatements.submit(submissions + [later])
      let result = try await queue.inspector.execute(statement, parameters, on: reactor)
      let ids = Dictionary(
        uniqueKeysWithValues: (0..<result.rowCount).map { (result.int64($0, 0), result.int64($0, 1)) })
      #expect(ids.count == 6 && ids[1] == nil && known > 0)
      let rows = [
        "0 \(ids[2]!) \(ids[2]!),\(ids[5]!)", "2 \(ids[3]!) \(ids[3]!),\(ids[4]!)", "2 \(ids[6]!) \(ids[6]!)",
      ]
      #expect(try await queue.rows(on: reactor) == rows)
      #expect(try await queue.count("millrace.scheduled", on: reactor) == 1)
      queue.close(on: reactor)
    }
  }

  @Test func `a claim takes as many as it wants, and what is too much keeps its place`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("place_parts", on: reactor)
      let worker = await queue.worker(on: reactor)
      let ids = try await queue.submitTogether(10, perPlace: 4, on: reactor)
      #expect(try await queue.count("millrace.ready_batch", on: reactor) == 3)
      func claim(_ count: Int, floor: Int64 = 0) async throws -> (ids: [Int64], turn: Turn) {
        let wish = ClaimWish(
          group: 0, places: [.init(Lane(line: 0, priority: .normal), floor: floor)], count: count, announces: nil)
        let turn = try await worker.queue.turn(completing: [], isRepeated: false, claiming: wish, on: reactor)
        return (turn.claimed.map(\.id).sorted(), turn)
      }
      let first = try await claim(1)
      #expect(first.ids == [ids[0]] && first.turn.isFull)
      #expect(try await queue.rows(on: reactor)[0] == "1 \(ids[1]) \(ids[1]),\(ids[2]),\(ids[3])")
      // A row and a part of the next; the next look may start at what was found first.
      let second = try await claim(5)
      #expect(second.ids == Array(ids[1...5]) && second.turn.isFull && second.turn.firsts.first?.seq == ids[1])
      let third = try await claim(16, floor: ids[1])
      #expect(third.ids == Array(ids[6...]) && !third.turn.isFull)
      let leases = [first, second, third].compactMap(\.turn.claimed.first?.lease)
      #expect(Set(leases).count == 3)
      #expect(try await queue.number("select sum(cardinality(ids)) from millrace.lease", on: reactor) == 10)
      #expect(try await claim(16).ids.isEmpty)
      for turn in [first, second, third] {
        #expect(try await worker.complete(turn.turn.claimed, on: reactor).count == turn.ids.count)
      }
      queue.close(on: reactor)
    }
  }

  @Test func `a claim of many takes the last place whole`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("place_whole", on: reactor)
      let worker = await queue.worker(on: reactor)
      for _ in 0..<2 { _ = try await queue.submitTogether(300, on: reactor) }
      // Nine places of 32 and one of 12 each.
      #expect(try await worker.claim(100, on: reactor).count == 100)
      #expect(try await queue.rows(on: reactor).first?.split(separator: ",").count == 28)
      #expect(try await worker.claim(512, on: reactor).count == 500)
      _ = try await queue.submitTogether(500, on: reactor)
      _ = try await queue.submitTogether(500, on: reactor)
      #expect(try await worker.claim(512, on: reactor).count == 500 + 32)
      queue.close(on: reactor)
    }
  }

  @Test func `I1 I3 whoever claims at the same time, each task is claimed once`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("place_crowd", on: reactor)
      var workers: [TestWorker] = []
      for number in 0..<4 { workers.append(await queue.worker("\(number)", on: reactor)) }
      var left = try await Set(
        queue.submitTogether(500, on: reactor) + queue.submitTogether(300, perPlace: 7, on: reactor))
      var twice: [Int64] = []
      let news = Pause()
      var running = workers.count
      for (number, worker) in workers.enumerated() {
        Task.immediate(executorPreference: reactor.queue) {
          var random = SeededRandom(seed: UInt64(number))
          var empty = 0
          while empty < 3, !left.isEmpty {
            let count = Int.random(in: 1...40, using: &random)
            let claimed = (try? await worker.claim(count, on: reactor)) ?? []
            empty = claimed.isEmpty ? empty + 1 : 0
            if claimed.count > count { twice.append(-1) }
            for task in claimed where left.remove(task.id) == nil { twice.append(task.id) }
          }
          running -= 1
          news.end()
        }
      }
      while running > 0 { await news.wait(until: .never, on: reactor) }
      // Whoever came to a row that another was dividing has passed it over.
      for task in try await workers[0].claim(512, on: reactor) where left.remove(task.id) == nil {
        twice.append(task.id)
      }
      #expect(left.isEmpty && twice.isEmpty)
      #expect(try await queue.rows(on: reactor).isEmpty)
      #expect(try await queue.number("select sum(cardinality(ids)) from millrace.lease", on: reactor) == 800)
      queue.close(on: reactor)
    }
  }

  @Test func `what waits for a row that is being divided finds in it what is left of it`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("place_divided", on: reactor)
      let worker = await queue.worker(on: reactor)
      let ids = try await queue.submitTogether(8, on: reactor)
      let others = try await queue.submitTogether(2, on: reactor)
      try await queue.beginClaim(3, on: reactor)
      // The row is passed over while it is being divided.
      #expect(try await worker.claim(1, on: reactor).map(\.id) == [others[0]])
      // A cancellation waits, and then finds the task in what was left, or in the lease.
      let cancelled = [ids[0], ids[5]].map { id in
        Task.immediate(executorPreference: reactor.queue) { try await queue.client.cancel(id, on: reactor) }
      }
      try await queue.waitForLockWaiters(2, on: reactor)
      try await queue.run("commit", on: reactor)
      for task in cancelled { #expect(try await task.value) }
      #expect(try await worker.claim(16, on: reactor).map(\.id).sorted() == [3, 4, 6, 7].map { ids[$0] } + [others[1]])
      #expect(try await queue.count("millrace.task where id = \(ids[0]) and attempt = 1", on: reactor) == 1)
      #expect(try await queue.count("millrace.task where id = \(ids[5]) and attempt = 0", on: reactor) == 1)
      queue.close(on: reactor)
    }
  }

  @Test func `who has passed over the row of what was being cancelled is told`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("place_told", on: reactor)
      let worker = await queue.worker(on: reactor)
      let ids = try await queue.submitTogether(3, on: reactor)
      try await queue.run("begin", on: reactor)
      try await queue.run("select millrace.cancel(\(ids[1]))", on: reactor)
      #expect(try await worker.claim(16, on: reactor).isEmpty)
      #expect(worker.heard.isEmpty)
      try await queue.run("commit", on: reactor)
      await worker.hears(1, on: reactor)
      #expect(try await worker.claim(16, on: reactor).map(\.id).sorted() == [ids[0], ids[2]])
      queue.close(on: reactor)
    }
  }

  @Test func `a row of which others leave nothing but what is cancelled or begun anew goes`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("place_goes", on: reactor)
      let first = try await queue.submitTogether(3, on: reactor)
      try await queue.beginClaim(2, on: reactor)
      let cancelling = Task.immediate(executorPreference: reactor.queue) {
        try await queue.client.cancel(first[2], on: reactor)
      }
      try await queue.waitForLockWaiters(on: reactor)
      try await queue.run("commit", on: reactor)
      #expect(try await cancelling.value)
      #expect(try await queue.rows(on: reactor).isEmpty)
      // At a place that nothing tells what is cancelled stays, until it is begun anew.
      let second = try await queue.submitTogether(6, on: reactor)
      try await queue.run("update millrace.ready_batch set seq = seq + 5000", on: reactor)
      #expect(try await queue.client.cancel(second[5], on: reactor))
      try await queue.beginClaim(5, on: reactor)
      let retrying = Task.immediate(executorPreference: reactor.queue) {
        try await queue.client.retry([second[5]], on: reactor)
      }
      try await queue.waitForLockWaiters(on: reactor)
      try await queue.run("commit", on: reactor)
      #expect(try await retrying.value == [second[5]])
      #expect(try await queue.texts("select ids::text from millrace.ready_batch", on: reactor) == ["{\(second[5])}"])
      queue.close(on: reactor)
    }
  }

  @Test func `many that were cancelled are begun anew, wherever they stood`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("place_many", on: reactor)
      let worker = await queue.worker(on: reactor)
      let ids = try await queue.submitTogether(100, on: reactor)
      try await queue.run("update millrace.ready_batch set seq = seq + 5000", on: reactor)
      // All of a row, most of the next, none of the last.
      let cancelled = Array(ids[..<60])
      for id in cancelled { #expect(try await queue.client.cancel(id, on: reactor)) }
      #expect(try await queue.count("millrace.ready", on: reactor) == 100)
      #expect(try await Set(queue.client.retry(cancelled, on: reactor)) == Set(cancelled))
      #expect(try await queue.number("select count(distinct id) from millrace.ready", on: reactor) == 100)
      #expect(try await queue.count("millrace.ready", on: reactor) == 100)
      let claimed = try await worker.claim(512, on: reactor)
      #expect(claimed.map(\.id).sorted() == ids)
      queue.close(on: reactor)
    }
  }

  @Test func `what is cancelled leaves its row, and what is begun anew stands in one only`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("place_leaves", on: reactor)
      let worker = await queue.worker(on: reactor)
      let ids = try await queue.submitTogether(4, on: reactor)
      for id in [ids[0], ids[2]] { #expect(try await queue.client.cancel(id, on: reactor)) }
      #expect(try await queue.rows(on: reactor) == ["1 \(ids[1]) \(ids[1]),\(ids[3])"])
      // At a place that nothing tells it stays behind when it is cancelled.
      try await queue.run("update millrace.ready_batch set seq = seq + 5000", on: reactor)
      #expect(try await queue.client.cancel(ids[1], on: reactor))
      #expect(try await queue.number("select cardinality(ids) from millrace.ready_batch", on: reactor) == 2)
      let begun = Array(ids[...2])
      #expect(try await Set(queue.client.retry(begun, on: reactor)) == Set(begun))
      #expect(try await queue.count("millrace.ready", on: reactor) == 4)
      #expect(try await queue.count("millrace.ready_batch where \(ids[1]) = any(ids)", on: reactor) == 1)
      let claimed = try await worker.claim(16, on: reactor)
      #expect(claimed.map(\.id).sorted() == ids)
      #expect(try await worker.complete(claimed, on: reactor).count == 4)
      queue.close(on: reactor)
    }
  }

  /// A line may have been one of quick tasks in a program of before.
  @Test func `of a row in a line whose tasks are claimed one by one nothing is lost`() async throws {
    try await onReactor { reactor in
      let queue = try await QueueHarness.make("place_bounded_row", on: reactor)
      let worker = await queue.worker(on: reactor)
      let ids = try await queue.submitTogether(3, on: reactor)
      let place = ClaimWish.Place(Lane(line: 0, priority: .normal), floor: 0, runningMax: 2)
      let wish = ClaimWish(group: 0, places: [place], count: 1, announces: nil)
      let turn = try await worker.queue.turn(completing: [], isRepeated: false, claiming: wish, on: reactor)
      #expect(turn.claimed.map(\.id).sorted() == ids && turn.isFull)
      #expect(try await worker.complete(turn.claimed, on: reactor).count == 3)
      // Without a bound likewise.
      let others = try await queue.submitTogether(2, on: reactor)
      let lane = ClaimWish.Place(Lane(line: 0, priority: .normal), floor: 0)
      let one = ClaimWish(group: 0, places: [lane], count: 1, announces: nil, sharesPlaces: false)
      let second = try await worker.queue.turn(completing: [], isRepeated: false, claiming: one, on: reactor)
      #expect(second.claimed.map(\.id).sorted() == others && second.isFull)
      queue.close(on: reactor)
    }
  }
}
