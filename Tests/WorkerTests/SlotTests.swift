import Basics
import Hashing
import Postgres
import Reactor
import TaskQueue
import Tasks
import Telemetry
import TestSupport
import Testing

@testable import Worker

private let pool = try! ComputePool(width: 2)
private let quiet = Logger(sink: LogSink(fd: 2), subsystem: "test", level: .error)
private let server = try! TestServer.postgres()

private struct Unqueued: Error {}

/// Slots over a queue of their own, one of a class, in a worker whose beats the test sends.
private final class SomeSlots: QueueListener {
  let room: WorkRoom
  let client: QueueClient
  private let queue: QueueWorker
  private let gates: [SlotGate]
  private var running = 0
  private let listens = Pause()
  let orders = Pause()
  let isOver = Pause()

  /// The worker was last heard `silence` ago.
  init(_ slots: [SlotClass] = [.quick], silence: TimeSpan, on reactor: isolated Reactor) async throws {
    var configuration = WorkerConfiguration(secret: SecretKey.random())
    configuration.queue.postgres.hosts = [server.directory]
    configuration.queue.postgres.database = "postgres"
    _ = try await QueueSchema.migrate(configuration.queue, pool: pool, log: quiet, on: reactor)
    let metrics = Metrics()
    queue = QueueWorker(configuration.queue, name: "test", pool: pool, log: quiet, metrics: metrics)
    client = QueueClient(configuration.queue, pool: pool, log: quiet, metrics: metrics)
    let queue = queue
    gates = slots.map { SlotGate($0, count: 1, claimMax: configuration.claimMax(of: $0), queue: queue) }
    room = WorkRoom(
      configuration, queue: queue, publisher: ResultPublisher(configuration, log: quiet, metrics: metrics),
      quickPool: pool, heavyPool: pool, longPool: pool, log: quiet, metrics: WorkerCounters(metrics),
      at: MonotonicTime(nanoseconds: reactor.now.nanoseconds - silence.nanoseconds))
    room.beatOrdered = { self.orders.end() }
    client.start(on: reactor)
    queue.start(self, on: reactor)
    await listens.wait(until: .never, on: reactor)
  }

  func run(on reactor: isolated Reactor) {
    for gate in gates {
      running += 1
      Task.immediate(executorPreference: reactor.queue) {
        await Slot(gate: gate, number: 0, work: room).run(on: reactor)
        running -= 1
        if running == 0 { isOver.end() }
      }
    }
  }

  func stop(on reactor: isolated Reactor) async {
    room.stop()
    for gate in gates { gate.stop(on: reactor) }
    await isOver.wait(until: .never, on: reactor)
    queue.close(on: reactor)
    client.close(on: reactor)
  }

  /// Queues `payload` for a kind, and returns its number.
  func queue(
    _ kind: String, _ payload: String = "", _ lane: Lane, _ slots: SlotClass, maxAttempts: Int16 = 3,
    on reactor: isolated Reactor
  ) async throws -> Int64 {
    let submission = Submission(
      kind: kind, lane: lane, group: slots.group, payload: Array(payload.utf8), key: nil, tasksPerWakeUp: 1,
      maxAttempts: maxAttempts)
    guard case .queued(let id) = try await client.submit(submission, on: reactor) else {
      throw Unqueued()
    }
    return id
  }

  /// The task when it is completed.
  func completed(_ id: Int64, on reactor: isolated Reactor) async throws -> TaskRecord {
    while true {
      if let task = try await client.task(id, on: reactor), task.state == .completed { return task }
    }
  }

  func listening(on reactor: isolated Reactor) {
    for gate in gates { gate.listening(on: reactor) }
    listens.end()
  }
  func deafened(on reactor: isolated Reactor) {}
  func heard(_ wakeUp: WakeUp, on reactor: isolated Reactor) {
    for gate in gates {
      switch wakeUp {
      case .tasks(let words):
        for word in words where word.group == gate.slots.group { gate.notified(word, on: reactor) }
      default: gate.lookOrdered(on: reactor)
      }
    }
  }
}

@Suite(.serialized, .timeLimit(.minutes(5))) struct SlotTests {
  @Test func `of large tasks a part after the other is stored, so that a claim of them takes bounded memory`()
    async throws
  {
    try await onReactor { reactor in
      let slot = try await SomeSlots([.bulky], silence: .seconds(0.0), on: reactor)
      var ids: [Int64] = []
      for number in 0..<12 {
        let submission = Submission(
          kind: "md5", lane: Lane(line: 1, priority: .normal), group: SlotClass.bulky.group,
          payload: [UInt8](repeating: 0x61 + UInt8(number), count: 1 << 20), key: nil)
        if case .queued(let id) = try await slot.client.submit(submission, on: reactor) { ids.append(id) }
      }
      #expect(ids.count == 12)
      slot.run(on: reactor)
      var ends: Set<Int64> = []
      for id in ids {
        var task = try await slot.client.task(id, on: reactor)
        while task?.state != .completed { task = try await slot.client.task(id, on: reactor) }
        #expect(task?.attempts == 1 && task?.result?.count ?? 0 > 1 << 20)
        ends.insert(task?.completedAt?.microseconds ?? 0)
      }
      // Whatever is stored in one transaction ends at one time.
      #expect(ends.count > 8)
      await slot.stop(on: reactor)
    }
  }

  @Test func `with less memory a worker claims fewer tasks at once, and never more than usual`() {
    var configuration = WorkerConfiguration(secret: SecretKey.random())
    #expect(SlotClass.all.map(configuration.claimMax) == SlotClass.all.map(\.claimMax))
    configuration.memoryBytes = 64 << 20
    #expect(SlotClass.all.map(configuration.claimMax) == [128, 4, 1, 1, 1])
    configuration.memoryBytes = 1 << 30
    #expect(SlotClass.all.map(configuration.claimMax) == SlotClass.all.map(\.claimMax))
  }

  @Test func `a worker that was silent for almost a lease claims nothing until a beat was answered`() async throws {
    try await onReactor { reactor in
      let slot = try await SomeSlots(silence: .seconds(25.0), on: reactor)
      let submission = Submission(
        kind: "md5", lane: Lane(line: 0, priority: .normal), group: 0, payload: [], isSecret: false, key: nil,
        tasksPerWakeUp: 1, maxAttempts: 3)
      guard case .queued(let id) = try await slot.client.submit(submission, on: reactor) else {
        Issue.record("the task was not queued")
        return
      }
      slot.run(on: reactor)
      await slot.orders.wait(until: .never, on: reactor)
      // A beat that fails changes nothing: another one is wanted.
      slot.room.beatEnded()
      await slot.orders.wait(until: .never, on: reactor)
      #expect(slot.room.metrics.claimed.value == 0)
      #expect(try await slot.client.task(id, on: reactor)?.state == .queued)
      slot.room.beats.sent(share: 0, at: reactor.now)
      slot.room.beats.answered(promisedSeconds: 5)
      slot.room.beatEnded()
      while try await slot.client.task(id, on: reactor)?.state != .completed {}
      #expect(slot.room.metrics.claimed.value == 1)
      await slot.stop(on: reactor)
    }
  }

  @Test func `the last attempt of a task whose workers were lost is run with nothing beside it`() async throws {
    try await onReactor { reactor in
      let slots = try await SomeSlots([.quick, .long, .suspect], silence: .seconds(0.0), on: reactor)
      let (long, quick) = (Lane(line: 5, priority: .normal), Lane(line: 0, priority: .normal))
      let second = #"{"task_type":"io_intensive","duration":1}"#
      let before = try await slots.queue(
        "longtask", #"{"task_type":"io_intensive","duration":500}"#, long, .long, on: reactor)
      slots.run(on: reactor)
      while slots.room.metrics.claimed.value == 0 { await reactor.sleep(for: .milliseconds(1)) }
      let last = try await slots.queue("md5", "last", .suspects(of: 0), .suspect, maxAttempts: 1, on: reactor)
      while !slots.room.soleRun.holdsBack(slow: true) { await reactor.sleep(for: .milliseconds(1)) }
      // It is nobody's while it waits, or would be lost with its worker.
      #expect(try await slots.client.task(last, on: reactor)?.state == .queued)
      // What is quick goes on until all that takes long is over; nothing is begun that takes long.
      let meanwhile = try await slots.queue("md5", "quick", quick, .quick, on: reactor)
      let after = try await slots.queue("longtask", #"{"task":"x","duration":0}"#, long, .long, on: reactor)
      _ = try await slots.completed(meanwhile, on: reactor)
      #expect(try await slots.client.task(last, on: reactor)?.state == .queued)
      #expect(try await slots.client.cancel(before, on: reactor))
      let times = try await (
        before: slots.client.task(before, on: reactor)!, last: slots.completed(last, on: reactor),
        after: slots.completed(after, on: reactor)
      )
      func span(_ task: TaskRecord) -> ClosedRange<Int64> {
        (task.startedAt?.microseconds ?? 0)...(task.completedAt?.microseconds ?? 0)
      }
      #expect(span(times.before).upperBound <= span(times.last).lowerBound)
      #expect(span(times.last).upperBound <= span(times.after).lowerBound)
      #expect(times.last.attempts == 1 && slots.room.metrics.soleRuns.value == 1)
      // One that has another attempt waits for nobody.
      let (other, beside) = try await (
        slots.queue("longtask", second, long, .long, on: reactor),
        slots.queue("md5", "beside", .suspects(of: 0), .suspect, on: reactor)
      )
      let spans = try await (
        span(slots.completed(other, on: reactor)), span(slots.completed(beside, on: reactor))
      )
      #expect(spans.1.upperBound < spans.0.upperBound && slots.room.metrics.soleRuns.value == 1)
      await slots.stop(on: reactor)
    }
  }

  @Test func `one worker of all makes room for a last attempt, and the others go on`() async throws {
    try await onReactor { reactor in
      let classes = [SlotClass.quick, .long, .suspect]
      let lane = Lane(line: 5, priority: .normal)
      let endless = #"{"task_type":"io_intensive","duration":500}"#
      var workers: [(slots: SomeSlots, runs: Int64)] = []
      for _ in 0..<2 {
        let slots = try await SomeSlots(classes, silence: .seconds(0.0), on: reactor)
        slots.run(on: reactor)
        let id = try await slots.queue("longtask", endless, lane, .long, on: reactor)
        while try await slots.client.task(id, on: reactor)?.state != .running {}
        workers.append((slots, id))
      }
      let client = workers[0].slots.client
      let last = try await workers[0].slots.queue(
        "md5", "last", .suspects(of: 0), .suspect, maxAttempts: 1, on: reactor)
      func makesRoom(_ index: Int) -> Bool { workers[index].slots.room.soleRun.holdsBack(slow: true) }
      while !makesRoom(0), !makesRoom(1) { await reactor.sleep(for: .milliseconds(1)) }
      let (one, other) = makesRoom(0) ? (0, 1) : (1, 0)
      // The other has asked, and leaves it to that one.
      while workers[other].slots.room.soleRun.pause(at: reactor.now) == nil {
        await reactor.sleep(for: .milliseconds(1))
      }
      #expect(makesRoom(one) && !makesRoom(other))
      #expect(try await client.task(last, on: reactor)?.state == .queued)
      // With nothing else to do it need not wait.
      #expect(try await client.cancel(workers[other].runs, on: reactor))
      #expect(try await workers[0].slots.completed(last, on: reactor).attempts == 1)
      #expect(try await client.task(workers[one].runs, on: reactor)?.state == .running)
      while makesRoom(one) || makesRoom(other) { await reactor.sleep(for: .milliseconds(1)) }
      let next = try await workers[0].slots.queue("longtask", #"{"task":"x","duration":0}"#, lane, .long, on: reactor)
      _ = try await workers[0].slots.completed(next, on: reactor)
      #expect(workers[one].slots.room.metrics.soleRuns.value == 0)
      #expect(workers[other].slots.room.metrics.soleRuns.value == 1)
      #expect(try await client.cancel(workers[one].runs, on: reactor))
      for worker in workers { await worker.slots.stop(on: reactor) }
    }
  }

  @Test func `many last attempts leave the others their time, and a stop ends every wait`() async throws {
    try await onReactor { reactor in
      let slots = try await SomeSlots([.quick, .long, .suspect], silence: .seconds(0.0), on: reactor)
      var ids: [Int64] = []
      for index in 0..<20 {
        ids.append(
          try await slots.queue("md5", "\(index)", .suspects(of: 0), .suspect, maxAttempts: 1, on: reactor))
        ids.append(
          try await slots.queue("md5", "\(index)", Lane(line: 0, priority: .low), .quick, on: reactor))
      }
      slots.run(on: reactor)
      for id in ids { #expect(try await slots.completed(id, on: reactor).attempts == 1) }
      #expect(slots.room.metrics.soleRuns.value == 1)
      // One that waits no more holds nobody back.
      let first = try await slots.queue(
        "longtask", #"{"task_type":"io_intensive","duration":500}"#, Lane(line: 5, priority: .normal), .long,
        on: reactor)
      while try await slots.client.task(first, on: reactor)?.state != .running {}
      let gone = try await slots.queue("md5", "gone", .suspects(of: 0), .suspect, maxAttempts: 1, on: reactor)
      while !slots.room.soleRun.holdsBack(slow: true) { await reactor.sleep(for: .milliseconds(1)) }
      #expect(try await slots.client.cancel(gone, on: reactor))
      while slots.room.soleRun.holdsBack(slow: true) { await reactor.sleep(for: .milliseconds(1)) }
      #expect(try await slots.client.cancel(first, on: reactor))
      // A stop in the middle of a wait gives back and leaves.
      let long = try await slots.queue(
        "longtask", #"{"task_type":"io_intensive","duration":500}"#, Lane(line: 5, priority: .normal), .long,
        on: reactor)
      while try await slots.client.task(long, on: reactor)?.state != .running {}
      let last = try await slots.queue("md5", "last", .suspects(of: 0), .suspect, maxAttempts: 1, on: reactor)
      while !slots.room.soleRun.holdsBack(slow: true) { await reactor.sleep(for: .milliseconds(1)) }
      #expect(try await slots.client.task(last, on: reactor)?.state == .queued)
      slots.room.running.abandon()
      #expect(try await slots.client.cancel(last, on: reactor))
      await slots.stop(on: reactor)
    }
  }
}
