import Basics
import Glibc
import HTTP
import Hashing
import Postgres
public import Reactor
import Redis
import TaskQueue
public import Telemetry

/// A whole worker on one reactor: starts everything in order, and on SIGTERM, SIGINT or SIGHUP finishes what is under
/// way, gives back the rest, and leaves.
public final class WorkerProcess: SignalReceiver {
  private let configuration: WorkerConfiguration
  private let log: Logger
  private let metrics: Metrics
  private let client: PostgresClient
  private let gates: [SlotGate]
  private let lifeline: Lifeline
  private let publisher: ResultPublisher
  private let pool: ComputePool
  private let quickPool: ComputePool
  private let heavyPool: ComputePool
  private var room: WorkRoom?
  private var slotsRunning = 0
  private var stopBegan: MonotonicTime?
  private var signals: SignalWatcher?
  private var server: HTTPServer?

  /// Runs a worker on the calling thread until it is told to stop by a signal, which must be blocked already.
  /// - Throws: `SystemError` if the process lacks descriptors or threads, or an endpoint's address is taken.
  public static func run(_ configuration: WorkerConfiguration, log: Logger, metrics: Metrics) throws(SystemError) {
    DescriptorLimit.raise()
    let pool = try ComputePool(width: 2, name: "helper")
    let quick = try ComputePool(width: 1, name: "quick")
    let heavy = try ComputePool(width: configuration.heavySlots, name: "heavy")
    try Reactor().runOnCallingThread { (reactor) throws(SystemError) in
      let process = WorkerProcess(
        configuration, pool: pool, quick: quick, heavy: heavy, log: log, metrics: metrics)
      try process.start(on: reactor)
    }
  }

  private init(
    _ configuration: WorkerConfiguration, pool: ComputePool, quick: ComputePool, heavy: ComputePool, log: Logger,
    metrics: Metrics
  ) {
    self.configuration = configuration
    self.log = log
    self.metrics = metrics
    self.pool = pool
    quickPool = quick
    heavyPool = heavy
    var postgres = configuration.postgres
    postgres.settings += QueueSchema.workerSettings
    let helpers = PostgresConnection.Helpers(pool: pool)
    client = PostgresClient(postgres, helpers: helpers, log: log.named("postgres"), metrics: metrics)
    gates = HashKind.SlotGroup.allCases.map { SlotGate(group: $0) }
    lifeline = Lifeline(configuration, helpers: helpers, gates: gates, log: log.named("lifeline"))
    publisher = ResultPublisher(configuration, log: log.named("redis"), metrics: metrics)
  }

  private func start(on reactor: isolated Reactor) throws(SystemError) {
    signals = try SignalWatcher(StopSignals.wanted, receiver: self, on: reactor)
    try serveEndpoints(on: reactor)
    client.start(width: 2, on: reactor)
    publisher.start(resolver: Resolver(pool: pool), on: reactor)
    Task.immediate(executorPreference: reactor.queue) { await self.live(on: reactor) }
  }

  /// The worker's life: the lifeline runs beside the slots, which begin when it is registered.
  private func live(on reactor: isolated Reactor) async {
    Task.immediate(executorPreference: reactor.queue) { await self.beat(on: reactor) }
    await lifeline.run(
      started: { presence in self.startSlots(presence, on: reactor) }, on: reactor)
  }

  /// `/livez`, `/readyz` and `/metrics`.
  private func serveEndpoints(on reactor: isolated Reactor) throws(SystemError) {
    let router = Router(lifeline)
    router.addCommon(metrics: metrics) { lifeline, _ in lifeline.missing }
    let server = HTTPServer(handler: router, metrics: HTTPServerMetrics(metrics))
    for address in configuration.endpoints { try server.listen(on: address, on: reactor) }
    self.server = server
  }

  private func startSlots(_ presence: WorkerPresence, on reactor: isolated Reactor) {
    log.info("ready", [("worker", configuration.name), ("id", "\(presence.id)")])
    let room = WorkRoom(
      configuration, client: client, publisher: publisher, quickPool: quickPool, heavyPool: heavyPool,
      worker: presence.id, log: log, metrics: metrics)
    self.room = room
    for gate in gates {
      let (count, batch) =
        switch gate.group {
        case .quick: (1, Limits.quickBatch)
        case .bulky: (1, Limits.bulkyBatch)
        case .heavy: (configuration.heavySlots, 1)
        }
      for _ in 0..<count { start(Slot(group: gate.group, batchMax: batch, gate: gate, work: room), on: reactor) }
    }
  }

  private func start(_ slot: Slot, on reactor: isolated Reactor) {
    slotsRunning += 1
    Task.immediate(executorPreference: reactor.queue) {
      await slot.run(on: reactor)
      self.slotsRunning -= 1
    }
  }

  /// Says "alive" every few seconds, or earlier when a scheduled task comes due.
  private func beat(on reactor: isolated Reactor) async {
    var random = SeededRandom.fromSystem()
    var nextSelfTest = reactor.now
    while stopBegan == nil {
      var pause = configuration.heartbeat.nanoseconds
      if let presence = lifeline.presence, let room {
        let selfTest = reactor.now >= nextSelfTest
        if selfTest {
          lifeline.beginSelfTest(on: reactor)
          nextSelfTest = reactor.now + configuration.selfTest
        }
        if let due = await beatOnce(presence, room, selfTest: selfTest, on: reactor) {
          pause = min(pause, max(due.nanoseconds, 5_000_000))
        }
      } else {
        pause = min(pause, 100_000_000)
      }
      await reactor.sleep(for: TimeSpan(nanoseconds: UInt64.random(in: pause * 9 / 10...pause, using: &random)))
    }
  }

  /// Returns the time until the next scheduled task, nil if none waits.
  private func beatOnce(
    _ presence: WorkerPresence, _ room: WorkRoom, selfTest: Bool, on reactor: isolated Reactor
  ) async -> TimeSpan? {
    let asleep = gates.filter { $0.sleeperCount > 0 }
    do {
      let report = try await presence.heartbeat(
        held: Array(room.heldLeases), idleGroups: asleep.map(\.group.rawValue),
        leaseSeconds: configuration.leaseSeconds,
        settledSeconds: configuration.settledSeconds, selfTest: selfTest, client,
        on: reactor)
      if report.rescued > 0 { log.warning("took over tasks of a lost worker", [("tasks", "\(report.rescued)")]) }
      for gate in asleep where gate.takeStaleRow() {
        defer { gate.announcementTaken() }
        try await room.claims.withdrawIdle(group: gate.group.rawValue, client, on: reactor)
      }
      if !report.waiting.isEmpty {
        // Their notification may be on its way, or others may come for them: only what is left then is a find.
        await reactor.sleep(for: .milliseconds(200))
        let left = try await WorkerPresence.stillWaiting(report.waiting, client, on: reactor)
        for gate in asleep where gate.sleeperCount > 0 && left.contains(where: { $0.group == gate.group.rawValue }) {
          room.metrics.sweepFinds.increment()
          gate.wake(gate.sleeperCount)
        }
      }
      return report.nextDueSeconds.map { TimeSpan.seconds($0) }
    } catch {
      // What was not sent cannot come back; a test that was sent all the same is answered early, which does no harm.
      if selfTest { lifeline.abandonSelfTest() }
      log.warning("heartbeat failed", [("reason", error.message)])
      return nil
    }
  }

  /// Stop claiming, finish, leave; a second signal ends the process at once.
  public func signalled(_ signal: CInt, on reactor: isolated Reactor) {
    if let stopBegan {
      // One wish can arrive twice: from a terminal or timeout(1), which signal the process and its group.
      if reactor.now.since(stopBegan) >= .milliseconds(Limits.secondSignalMs) { reactor.stop() }
      return
    }
    stopBegan = reactor.now
    log.info("stopping")
    room?.stop()
    for gate in gates { gate.stop() }
    Task.immediate(executorPreference: reactor.queue) {
      // Who is leaving must not be the one that is notified.
      if let room = self.room { try? await room.claims.withdrawIdle(self.client, on: reactor) }
      let deadline = reactor.now + self.configuration.drain
      while self.slotsRunning > 0, reactor.now < deadline { await reactor.sleep(for: .milliseconds(5)) }
      if self.slotsRunning > 0 {
        self.log.warning(
          "tasks were still under way; other workers take them over", [("slots", "\(self.slotsRunning)")])
      }
      await self.publisher.drain(on: reactor)
      await self.server?.drain(until: reactor.now + .milliseconds(100), on: reactor)
      if let presence = self.lifeline.presence { _ = try? await presence.leave(self.client, on: reactor) }
      self.lifeline.stop(on: reactor)
      self.client.close(on: reactor)
      self.log.info("stopped")
      reactor.stop()
    }
  }
}
