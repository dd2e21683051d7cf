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

/// A slot over a queue of its own, in a worker whose beats the test sends.
private final class OneSlot: QueueListener {
  let room: WorkRoom
  let client: QueueClient
  private let queue: QueueWorker
  private let gate: SlotGate
  private let listens = Pause()
  let orders = Pause()
  let isOver = Pause()

  /// The worker was last heard `silence` ago.
  init(_ slots: SlotClass = .quick, silence: TimeSpan, on reactor: isolated Reactor) async throws {
    var configuration = WorkerConfiguration(secret: SecretKey.random())
    configuration.queue.postgres.hosts = [server.directory]
    configuration.queue.postgres.database = "postgres"
    _ = try await QueueSchema.migrate(configuration.queue, pool: pool, log: quiet, on: reactor)
    let metrics = Metrics()
    queue = QueueWorker(configuration.queue, name: "test", pool: pool, log: quiet, metrics: metrics)
    client = QueueClient(configuration.queue, pool: pool, log: quiet, metrics: metrics)
    gate = SlotGate(slots, count: 1, claimMax: configuration.claimMax(of: slots), queue: queue)
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
    Task.immediate(executorPreference: reactor.queue) {
      await Slot(gate: gate, number: 0, work: room).run(on: reactor)
      isOver.end()
    }
  }

  func stop(on reactor: isolated Reactor) async {
    room.stop()
    gate.stop(on: reactor)
    await isOver.wait(until: .never, on: reactor)
    queue.close(on: reactor)
    client.close(on: reactor)
  }

  func listening(on reactor: isolated Reactor) {
    gate.listening(on: reactor)
    listens.end()
  }
  func deafened(on reactor: isolated Reactor) {}
  func heard(_ wakeUp: WakeUp, on reactor: isolated Reactor) {}
}

@Suite(.serialized, .timeLimit(.minutes(5))) struct SlotTests {
  @Test func `of large tasks a part after the other is stored, so that a claim of them takes bounded memory`()
    async throws
  {
    try await onReactor { reactor in
      let slot = try await OneSlot(.bulky, silence: .seconds(0.0), on: reactor)
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
      let slot = try await OneSlot(silence: .seconds(25.0), on: reactor)
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
}
