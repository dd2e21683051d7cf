import Basics
import Glibc
import HTTP
import Hashing
public import Reactor
import Redis
public import Roles
public import TaskQueue
import Tasks
public import Telemetry

/// A whole worker on one reactor: starts everything in order, and when it is stopped finishes what is under way, gives
/// back the rest, and leaves.
public final class WorkerProcess: Role {
  private let configuration: WorkerConfiguration
  private let log: Logger
  private let metrics: Metrics
  private let queue: QueueWorker
  private let room: WorkRoom
  private let gates: [SlotGate]
  private let keeper: Keeper
  private let publisher: ResultPublisher
  private let pool: ComputePool
  private var hasStarted = false
  private var slotsRunning = 0
  private var isStopping = false
  private var server: HTTPServer?

  /// Runs a worker on the calling thread until it is told to stop by a signal, which must be blocked already.
  /// - Throws: `SystemError` if the process lacks descriptors or threads, or an endpoint's address is taken.
  public static func run(_ configuration: WorkerConfiguration, log: Logger, metrics: Metrics) throws(SystemError) {
    let pool = try ComputePool(width: 2, name: "helper")
    let quick = try ComputePool(width: 1, name: "quick")
    let heavy = try ComputePool(width: configuration.heavySlots, name: "heavy")
    let long = try ComputePool(width: 1, name: "long")
    try RoleProcess.run(holdsSecrets: true) { (reactor) throws(SystemError) in
      let process = WorkerProcess(
        configuration, pool: pool, quick: quick, heavy: heavy, long: long, log: log, metrics: metrics, at: reactor.now)
      try process.start(on: reactor)
      return process
    }
  }

  private init(
    _ configuration: WorkerConfiguration, pool: ComputePool, quick: ComputePool, heavy: ComputePool, long: ComputePool,
    log: Logger,
    metrics: Metrics, at now: MonotonicTime
  ) {
    self.configuration = configuration
    self.log = log
    self.metrics = metrics
    self.pool = pool
    MemoryMetrics.register(in: metrics, limitBytes: configuration.memoryBytes + configuration.argon2BytesMax)
    let queue = QueueWorker(configuration.queue, name: configuration.name, pool: pool, log: log, metrics: metrics)
    self.queue = queue
    gates = SlotClass.all.map {
      SlotGate(
        $0, count: $0.slots ?? configuration.heavySlots, claimMax: configuration.claimMax(of: $0), queue: queue)
    }
    publisher = ResultPublisher(configuration, log: log.named("redis"), metrics: metrics)
    room = WorkRoom(
      configuration, queue: queue, publisher: publisher, quickPool: quick, heavyPool: heavy, longPool: long, log: log,
      metrics: WorkerCounters(metrics), at: now)
    keeper = Keeper(room, gates: gates, log: log)
  }

  private func start(on reactor: isolated Reactor) throws(SystemError) {
    try serveEndpoints(on: reactor)
    publisher.start(resolver: Resolver(pool: pool), on: reactor)
    queue.start(self, on: reactor)
  }

  /// Every path there is: `/livez`, `/readyz` and `/metrics`.
  static func routes(_ queue: QueueWorker, metrics: Metrics) -> Router<QueueWorker> {
    let router = Router(queue)
    router.addOperatorEndpoints(metrics: metrics) { queue, _ in RoleState(missing: queue.missing) }
    return router
  }

  private func serveEndpoints(on reactor: isolated Reactor) throws(SystemError) {
    let router = WorkerProcess.routes(queue, metrics: metrics)
    let server = HTTPServer(handler: router, metrics: HTTPServerMetrics(metrics), log: log)
    for address in configuration.endpoints { try server.listen(on: address, on: reactor) }
    self.server = server
  }

  private func startSlots(on reactor: isolated Reactor) {
    log.info("ready", [("worker", configuration.name), ("id", "\(queue.id ?? 0)")])
    keeper.start(on: reactor)
    for gate in gates {
      for number in 0..<(gate.slots.slots ?? configuration.heavySlots) {
        slotsRunning += 1
        Task.immediate(executorPreference: reactor.queue) {
          await Slot(gate: gate, number: number, work: self.room).run(on: reactor)
          self.slotsRunning -= 1
        }
      }
    }
  }

  /// Stops claiming, finishes, leaves.
  public func stop(on reactor: isolated Reactor) async {
    isStopping = true
    log.info("stopping")
    room.stop()
    keeper.stop()
    for gate in gates { gate.stop(on: reactor) }
    let isReachable = await slotsHaveLeft(on: reactor)
    keeper.end()
    if slotsRunning > 0 {
      log.warning("tasks were still under way; other workers take them over", [("slots", "\(slotsRunning)")])
    }
    await publisher.drain(on: reactor)
    await server?.drain(until: reactor.now + .milliseconds(100), on: reactor)
    let patience = isReachable ? Limits.leavePatience : .milliseconds(0)
    try? await queue.leave(held: Array(room.heldLeases), until: reactor.now + patience, on: reactor)
    queue.close(on: reactor)
    log.info("stopped")
  }

  /// Waits until all slots have left, as long as they may take. If all that are left wait for a PostgreSQL that does
  /// not answer, nobody else waits for that: what they have computed others compute again. Returns whether it answers.
  private func slotsHaveLeft(on reactor: isolated Reactor) async -> Bool {
    let began = reactor.now
    var isTold = false
    while slotsRunning > 0, reactor.now < began + configuration.drain {
      if !isTold, reactor.now.since(began) >= Limits.stopToldAfter {
        isTold = true
        log.info(
          "waiting for tasks under way",
          [("slots", "\(slotsRunning)"), ("seconds_max", "\(Int(configuration.drain.seconds))")])
      }
      if room.slotsWaiting == slotsRunning, room.silence(since: began, at: reactor.now) >= Limits.stopPatience {
        return false
      }
      if reactor.now + Limits.abandonTime >= began + configuration.drain { room.running.abandon() }
      await reactor.sleep(for: .milliseconds(5))
    }
    return true
  }
}

extension WorkerProcess: QueueListener {
  /// Slots begin when the worker is registered and hears of tasks.
  public func listening(on reactor: isolated Reactor) {
    room.isListening = true
    // Others may have seen it without a session.
    room.beats.order(at: reactor.now)
    room.beatOrdered()
    for gate in gates { gate.listening(on: reactor) }
    if hasStarted || isStopping { return keeper.ordersGiven(on: reactor) }
    hasStarted = true
    Task.immediate(executorPreference: reactor.queue) {
      // What is paused is not begun, not even by one that has just come.
      await self.keeper.readOrders(on: reactor)
      if !self.isStopping { self.startSlots(on: reactor) }
    }
  }

  /// Slots do not rely on being told.
  public func deafened(on reactor: isolated Reactor) {
    room.isListening = false
    for gate in gates { gate.deafened(on: reactor) }
  }

  /// Slots of the classes that are meant are woken.
  public func heard(_ wakeUp: WakeUp, on reactor: isolated Reactor) {
    switch wakeUp {
    case .tasks(let words):
      room.metrics.notifications.increment()
      for gate in gates {
        for word in words where word.group == gate.slots.group { gate.notified(word, on: reactor) }
      }
    case .look: for gate in gates { gate.lookOrdered(on: reactor) }
    case .due(let span): keeper.scheduled(at: reactor.now + span)
    case .cancelled(let id): room.running.cancel(id)
    case .orders: keeper.ordersGiven(on: reactor)
    }
  }
}
