import Basics
import Glibc
import HTTP
import Hashing
public import Reactor
import Redis
public import TaskQueue
import Tasks
public import Telemetry

/// A whole worker on one reactor: starts everything in order, and on SIGTERM, SIGINT or SIGHUP finishes what is under
/// way, gives back the rest, and leaves.
public final class WorkerProcess: SignalReceiver {
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
    let queue = QueueWorker(configuration.queue, name: configuration.name, pool: pool, log: log, metrics: metrics)
    self.queue = queue
    gates = SlotClass.all.map { SlotGate($0, count: $0.slots ?? configuration.heavySlots, queue: queue) }
    publisher = ResultPublisher(configuration, log: log.named("redis"), metrics: metrics)
    room = WorkRoom(
      configuration, queue: queue, publisher: publisher, quickPool: quick, heavyPool: heavy, log: log,
      metrics: WorkerCounters(metrics))
    keeper = Keeper(room, gates: gates, log: log)
  }

  private func start(on reactor: isolated Reactor) throws(SystemError) {
    signals = try SignalWatcher(StopSignals.wanted, receiver: self, on: reactor)
    try serveEndpoints(on: reactor)
    publisher.start(resolver: Resolver(pool: pool), on: reactor)
    queue.start(self, on: reactor)
  }

  /// `/livez`, `/readyz` and `/metrics`.
  private func serveEndpoints(on reactor: isolated Reactor) throws(SystemError) {
    let router = Router(queue)
    router.addCommon(metrics: metrics) { queue, _ in queue.missing }
    let server = HTTPServer(handler: router, metrics: HTTPServerMetrics(metrics))
    for address in configuration.endpoints { try server.listen(on: address, on: reactor) }
    self.server = server
  }

  private func startSlots(on reactor: isolated Reactor) {
    log.info("ready", [("worker", configuration.name), ("id", "\(queue.id ?? 0)")])
    keeper.start(on: reactor)
    for gate in gates {
      for _ in 0..<(gate.slots.slots ?? configuration.heavySlots) {
        slotsRunning += 1
        Task.immediate(executorPreference: reactor.queue) {
          await Slot(gate: gate, work: self.room).run(on: reactor)
          self.slotsRunning -= 1
        }
      }
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
    room.stop()
    keeper.stop()
    for gate in gates { gate.stop(on: reactor) }
    Task.immediate(executorPreference: reactor.queue) {
      let deadline = reactor.now + self.configuration.drain
      while self.slotsRunning > 0, reactor.now < deadline { await reactor.sleep(for: .milliseconds(5)) }
      if self.slotsRunning > 0 {
        self.log.warning(
          "tasks were still under way; other workers take them over", [("slots", "\(self.slotsRunning)")])
      }
      await self.publisher.drain(on: reactor)
      await self.server?.drain(until: reactor.now + .milliseconds(100), on: reactor)
      try? await self.queue.leave(on: reactor)
      self.queue.close(on: reactor)
      self.log.info("stopped")
      reactor.stop()
    }
  }
}

extension WorkerProcess: QueueListener {
  /// Slots begin when the worker is registered and hears of tasks.
  public func listening(on reactor: isolated Reactor) {
    room.isListening = true
    for gate in gates { gate.listening(on: reactor) }
    if !hasStarted, stopBegan == nil {
      hasStarted = true
      startSlots(on: reactor)
    }
  }

  /// Slots do not rely on being told.
  public func deafened(on reactor: isolated Reactor) {
    room.isListening = false
    for gate in gates { gate.deafened(on: reactor) }
  }

  /// Slots of the classes that are meant are woken.
  public func heard(_ wakeUp: WakeUp, on reactor: isolated Reactor) {
    for gate in gates {
      if wakeUp.words.isEmpty { gate.lookOrdered(on: reactor) }
      for word in wakeUp.words where word.group == gate.slots.group { gate.notified(word, on: reactor) }
    }
  }
}
