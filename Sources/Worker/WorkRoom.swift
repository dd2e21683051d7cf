import Basics
import Hashing
import Reactor
import Redis
import TaskQueue
import Tasks
import Telemetry

/// What the slots of one worker process share: the queue, the compute pools, the leases held, and counters.
final class WorkRoom: EventHandler {
  let configuration: WorkerConfiguration
  let queue: QueueWorker
  let log: Logger
  let metrics: WorkerCounters
  var random = SeededRandom.fromSystem()
  /// Whether notifications arrive.
  var isListening = false
  private(set) var isStopping = false
  /// Slots that want something of PostgreSQL and have not been answered yet.
  private(set) var slotsWaiting = 0
  /// When one of them began to, or one was answered, last.
  private var waitChangedAt: MonotonicTime
  private(set) var heldLeases: Set<Int64> = []
  /// When this worker says that it lives.
  var beats: BeatSchedule
  /// Whether the next beat is as far away as it is for a worker at rest,
  var isAtRest = false
  /// and who has to know when that changes, or when a beat is wanted at once.
  var beatOrdered: () -> Void = {}
  private var awaitingBeat: [UnsafeContinuation<Void, Never>] = []
  /// When a task of this worker's is due again that is to be tried once more.
  var retryDue: (TimeSpan) -> Void = { _ in }

  let sealer: Sealer
  let quickPool: ComputePool
  let heavyPool: ComputePool
  /// For what computes a little at a time: it must not wait behind what takes long.
  let longPool: ComputePool
  let admission: MemoryAdmission
  let running: RunningTasks
  /// What people want of this worker.
  private(set) var orders = StandingOrders()
  private var awaitingOrders: [UnsafeContinuation<Void, Never>] = []
  /// Whether last attempts are run alone, and who waits for their time to come or to be over.
  private(set) var soleRun = SoleRun()
  private let soleRunPause = Pause()
  private lazy var soleRunTimer = ReactorTimer(self)
  private let publisher: ResultPublisher
  private var retries = RetryPolicy(random: .fromSystem())

  init(
    _ configuration: WorkerConfiguration, queue: QueueWorker, publisher: ResultPublisher, quickPool: ComputePool,
    heavyPool: ComputePool, longPool: ComputePool, log: Logger, metrics: WorkerCounters, at now: MonotonicTime
  ) {
    self.configuration = configuration
    self.queue = queue
    self.publisher = publisher
    self.log = log
    self.metrics = metrics
    waitChangedAt = now
    beats = BeatSchedule(beat: configuration.heartbeat, leaseSeconds: configuration.leaseSeconds, at: now)
    sealer = Sealer(key: configuration.secret.derived(for: "queue"))
    self.quickPool = quickPool
    self.heavyPool = heavyPool
    self.longPool = longPool
    running = RunningTasks(queue, publisher: publisher, log: log)
    admission = MemoryAdmission(bytesMax: configuration.argon2BytesMax, held: metrics.argon2Bytes)
    super.init()
  }

  func hold(_ lease: Int64) {
    heldLeases.insert(lease)
    guard isAtRest else { return }
    isAtRest = false
    beatOrdered()
  }

  func letGo(_ lease: Int64) { heldLeases.remove(lease) }

  /// A slot has begun to wait for PostgreSQL; it waits on while it tries again.
  func waitBegan(at now: MonotonicTime) {
    slotsWaiting += 1
    waitChangedAt = now
  }

  /// It was answered, if only that something is wrong, or has given up.
  func waitEnded(at now: MonotonicTime) {
    slotsWaiting -= 1
    waitChangedAt = now
  }

  /// For how long those that wait have all waited and none was answered, since `began` at the most.
  func silence(since began: MonotonicTime, at now: MonotonicTime) -> TimeSpan { now.since(max(began, waitChangedAt)) }

  /// Nothing more is claimed from now on.
  func stop() {
    isStopping = true
    beatEnded()
    soleRunPause.end()
    resume()
  }

  /// Goes by `orders` from now on; returns whether they are others than before.
  func follow(_ orders: StandingOrders) -> Bool {
    if orders == self.orders { return false }
    self.orders = orders
    resume()
    return true
  }

  /// A slot of `slots` is about to claim, or holds nothing any more.
  func slot(of slots: SlotClass, isOccupied: Bool, at now: MonotonicTime) {
    if slots.isForSuspects { return }
    if isOccupied {
      soleRun.slotOccupied(slow: slots.isSlow)
    } else if soleRun.slotEmptied(slow: slots.isSlow, at: now) {
      soleRunPause.end()
    }
  }

  /// A last attempt waits. Returns whether it is this worker that makes room for it, or has room already.
  /// - Throws: `QueueError`.
  func hasSoleTurn(on reactor: isolated Reactor) async throws(QueueError) -> Bool {
    let isAlone = soleRun.isAlone || soleRun.isEmpty
    let seconds =
      isAlone ? Limits.soleRunMax.seconds : Limits.clearingMax.seconds + Limits.quickClearingMax.seconds
    if try await queue.takeSoleTurn(isAlone: isAlone, seconds: seconds, on: reactor) { return true }
    soleRun.leave(at: reactor.now)
    return false
  }

  /// A last attempt waits. Returns whether nothing runs here, and it can be claimed.
  func beginSoleRun(on reactor: isolated Reactor) -> Bool {
    soleRun.begin(at: reactor.now)
    if soleRun.isAlone { metrics.soleRuns.increment() }
    return soleRun.isAlone
  }

  /// It waits in one of `places`: lets what runs here come to its end, for as long as it waits.
  func becomeAlone(for places: [ClaimWish.Place], on reactor: isolated Reactor) async {
    while !soleRun.isAlone {
      let look = min(soleRun.due, reactor.now + Limits.clearingLook)
      let isTold = await soleRunPause.wait(until: look, on: reactor)
      if isStopping { return }
      if isTold { continue }
      soleRun.timePassed(at: reactor.now)
      if soleRun.isAlone { break }
      // Another worker may have taken it. If nobody can tell it is waited on.
      waitBegan(at: reactor.now)
      let waits = try? await queue.lastAttemptsWait(in: places, on: reactor)
      waitEnded(at: reactor.now)
      if isStopping { return }
      if waits == false || orders.isQuiet, !soleRun.isAlone { return endSoleRun(on: reactor) }
    }
    // One that had nothing to do may have been faster.
    waitBegan(at: reactor.now)
    let isTurn = try? await hasSoleTurn(on: reactor)
    waitEnded(at: reactor.now)
    if isTurn != true { return endSoleRun(on: reactor) }
    metrics.soleRuns.increment()
  }

  /// A last attempt begins, and has its time alone.
  func lastAttemptBegan(on reactor: isolated Reactor) {
    reactor.arm(soleRunTimer, at: reactor.now + Limits.soleRunMax)
  }

  /// It is over, and its result is to be stored before others come in.
  func lastAttemptEnded(on reactor: isolated Reactor) { reactor.cancel(soleRunTimer) }

  /// It has had its time alone.
  override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) { endSoleRun(on: reactor) }

  /// Nothing needs to be alone any more.
  func endSoleRun(on reactor: isolated Reactor) {
    soleRun.end(at: reactor.now)
    resume()
    Task.immediate(executorPreference: reactor.queue) { await queue.endSoleTurn(on: reactor) }
  }

  /// Waits for other orders, for the end of what is run alone, or for the stop.
  func waitForOrders(on reactor: isolated Reactor) async {
    await withUnsafeContinuation { awaitingOrders.append($0) }
  }

  private func resume() {
    let waiters = awaitingOrders
    awaitingOrders.removeAll()
    for waiter in waiters { waiter.resume() }
  }

  /// Waits for a beat, which is sent at once, or for the stop.
  func beat(on reactor: isolated Reactor) async {
    beats.order(at: reactor.now)
    beatOrdered()
    await withUnsafeContinuation { awaitingBeat.append($0) }
  }

  /// A claim has failed that may have been carried out. Should it have been, its lease is given back by the first beat
  /// that finds it old enough: one comes as soon as it is.
  func claimFailed(on reactor: isolated Reactor) {
    beats.lookBack(at: reactor.now + .seconds(configuration.leaseSeconds) + Limits.lookBackAfter)
    beatOrdered()
  }

  /// A beat was answered, or has failed.
  func beatEnded() {
    for waiter in awaitingBeat { waiter.resume() }
    awaitingBeat.removeAll()
  }

  /// Passes accepted results on to the cache and to waiting clients, and remembers when those are due that are to be
  /// tried again.
  func publish(
    _ completions: [Completion], accepted: [Int64], identities: [Int64: TaskIdentity], on reactor: isolated Reactor
  ) {
    guard !accepted.isEmpty else { return }
    let counted = accepted.count == completions.count ? nil : Set(accepted)
    let stored = completions.filter { counted?.contains($0.id) ?? true }
    for completion in stored {
      if case .retry(_, let seconds) = completion.outcome { retryDue(.seconds(seconds)) }
    }
    publisher.publish(stored, identities: identities, on: reactor)
  }

  /// What becomes of a task whose attempt ended with `fault`.
  func outcome(of task: ClaimedTask, after fault: TaskFault) -> Completion.Outcome {
    metrics.failed.increment()
    let trace = (task.trace ?? "").split(separator: " ")
    var fields: [Logger.Field] = [
      ("task", "\(task.id)"), ("kind", task.kind), ("reason", fault.reason), ("request_id", String(trace.first ?? "")),
    ]
    if trace.count > 1 { fields.append(("trace_id", String(trace[1]))) }
    log.warning("attempt failed", fields)
    let outcome =
      fault.isFinal ? Completion.Outcome.failed(error: fault.reason) : retries.outcome(of: task, error: fault.reason)
    if case .retry = outcome { metrics.retried.increment() }
    return outcome
  }
}

extension SlotClass {
  /// Whether its tasks may take long.
  var isSlow: Bool { claimMax == 1 }
}
