import Basics
import Glibc
import Reactor
import TaskQueue
import Tasks
import Telemetry

/// What a worker does for the queue as a whole, beside its tasks: it says that it lives, takes over from the dead,
/// makes tasks ready whose time has come, and, if it is the one of all, looks after partitions.
final class Keeper {
  private let room: WorkRoom
  private let gates: [SlotGate]
  private let configuration: WorkerConfiguration
  private let log: Logger
  private var policy: TakeOverPolicy
  private var isStopping = false
  private var isOver = false
  /// Whether orders are being read, and whether there may be newer ones.
  private var isReadingOrders = false
  private var hasNewOrders = false
  private let alarm = Pause()
  /// How many tasks had been claimed at the last beat.
  private var claimedAtBeat: UInt64 = 0
  private var beatsSent = 0
  private var random = SeededRandom.fromSystem()
  private let promotion = Pause()
  /// When the next scheduled task is due, as far as this worker knows.
  private var due = MonotonicTime.never

  init(_ room: WorkRoom, gates: [SlotGate], log: Logger) {
    self.room = room
    self.gates = gates
    self.log = log
    configuration = room.configuration
    policy = TakeOverPolicy(beat: configuration.heartbeat, leaseSeconds: configuration.leaseSeconds)
  }

  /// Begins, until `stop`.
  func start(on reactor: isolated Reactor) {
    room.retryDue = { self.scheduled(at: reactor.now + $0) }
    room.beatOrdered = { self.alarm.end() }
    Task.immediate(executorPreference: reactor.queue) { await self.beat(on: reactor) }
    Task.immediate(executorPreference: reactor.queue) { await self.promote(on: reactor) }
    Task.immediate(executorPreference: reactor.queue) { await self.maintain(on: reactor) }
    Task.immediate(executorPreference: reactor.queue) { await self.measure(on: reactor) }
  }

  /// Nothing more is done for others from now on. That the worker lives is said on, lest what it still runs is taken
  /// over.
  func stop() {
    isStopping = true
    promotion.end()
  }

  /// Nothing at all is done from now on.
  func end() {
    isOver = true
    alarm.end()
  }

  /// Somebody has given orders, or may have: they are read, once more if that is being done.
  func ordersGiven(on reactor: isolated Reactor) {
    Task.immediate(executorPreference: reactor.queue) { await self.readOrders(on: reactor) }
  }

  /// Reads what people want, and returns when the worker goes by it, or stops.
  func readOrders(on reactor: isolated Reactor) async {
    hasNewOrders = true
    if isReadingOrders { return }
    isReadingOrders = true
    var hasComplained = false
    while hasNewOrders, !isStopping {
      hasNewOrders = false
      do {
        follow(try await room.queue.orders(on: reactor), on: reactor)
      } catch {
        if !hasComplained { log.warning("orders could not be read, trying again", [("reason", error.message)]) }
        hasComplained = true
        hasNewOrders = true
        await reactor.sleep(for: Limits.secondTry)
      }
    }
    isReadingOrders = false
  }

  private func follow(_ orders: QueueOrders, on reactor: isolated Reactor) {
    if isStopping { return }
    if room.follow(StandingOrders(orders)) {
      log.info(
        "orders were given",
        [
          ("claims", room.orders.isQuiet ? "nothing" : "tasks"), ("paused_lines", "\(room.orders.paused.sorted())"),
          ("limited_lines", "\(room.orders.runningMax.keys.sorted())"),
          ("slots_max", room.orders.slotsMax.map(String.init) ?? "all"),
        ])
      for gate in gates { gate.lookOrdered(on: reactor) }
    }
    // It is a process like others that are told to stop: the signal comes to its own watcher.
    if orders.wanted == .stop { kill(getpid(), SIGTERM) }
  }

  /// Nothing has been claimed since the last beat, and all slots sleep.
  private var isAtRest: Bool {
    room.metrics.claimed.value == claimedAtBeat && gates.allSatisfy { $0.isAsleep }
  }

  /// Beats as the schedule has it, and earlier if there is somebody to look after.
  private func beat(on reactor: isolated Reactor) async {
    while !isOver {
      let due = room.beats.due(isAtRest: isAtRest)
      if reactor.now < due {
        room.isAtRest = isAtRest
        room.beats.alarmSet(for: due)
        if await alarm.wait(until: due, on: reactor) { room.beats.alarmEnded(at: reactor.now) }
        continue
      }
      do {
        if let again = try await beatOnce(on: reactor) { room.beats.order(at: reactor.now + again) }
      } catch {
        log.warning("heartbeat failed", [("reason", error.message)])
        await reactor.sleep(for: Limits.secondTry)
      }
      // What it has done after the answer kept the next beat back, and is no outage.
      room.beats.alarmSet(for: reactor.now)
      room.beatEnded()
    }
  }

  /// Returns how soon to look again, nil for the usual time.
  private func beatOnce(on reactor: isolated Reactor) async throws(QueueError) -> TimeSpan? {
    let asleep = gates.filter { $0.sleeperCount > 0 }
    // Of lines that others are busy with only suspects can be waiting: that is asked for now and then, because all of
    // those lines is looked at for it. Their last attempts may have to wait.
    beatsSent += 1
    let asksForSuspects =
      beatsSent.isMultiple(of: Limits.suspectBeats) && room.soleRun.pause(at: reactor.now) == nil
    let asked = asksForSuspects ? asleep : asleep.filter { !$0.slots.isForSuspects }
    let wasAtRest = isAtRest
    policy.sent(sendable: room.beats.sendable(isAtRest: wasAtRest), at: reactor.now)
    room.beats.sent(share: Double.random(in: 0...1, using: &random), at: reactor.now)
    claimedAtBeat = room.metrics.claimed.value
    let beat: QueueWorker.Beat
    do {
      beat = try await room.queue.beat(
        held: Array(room.heldLeases), leaseSeconds: configuration.leaseSeconds,
        idleLines: Set(asked.flatMap(\.lines)).subtracting(room.orders.paused).sorted(),
        schedule: room.beats, isAtRest: wasAtRest, testAfter: configuration.selfTest, on: reactor)
    } catch {
      policy.failed()
      throw error
    }
    room.beats.answered(promisedSeconds: beat.promisedSeconds)
    if let seconds = beat.nextDueSeconds { scheduled(at: reactor.now + .seconds(seconds)) }
    let verdict = policy.answered(
      beat.suspects, clockSeconds: beat.clockSeconds, serverSeconds: beat.serverSeconds, at: reactor.now)
    let rescued = try await room.queue.carryOut(verdict, seenAt: beat.clockSeconds, on: reactor)
    room.metrics.rescued.add(Int(rescued))
    if rescued > 0 { log.warning("took over tasks of a lost worker", [("tasks", "\(rescued)")]) }
    let waiting = beat.waiting.filter { task in asked.contains { $0.runs(task) } }
    if !isStopping, !waiting.isEmpty {
      // Their notification may be on its way, or others may come for them: only what is left then is a find.
      await reactor.sleep(for: .milliseconds(200))
      let left = try await room.queue.stillWaiting(waiting, on: reactor)
      for gate in asked where gate.sleeperCount > 0 {
        let lines = Set(left.filter(gate.runs).map(\.line))
        if lines.isEmpty { continue }
        // What waits because people want it to, or for its turn alone, is no find; but it may be run by now.
        let waitsForTurn = gate.slots.isForSuspects && room.soleRun.pause(at: reactor.now) != nil
        if !lines.allSatisfy(room.orders.holdsUp), !waitsForTurn {
          room.metrics.sweepFinds.increment()
          log.warning("a task waited that nobody was told of", [("slots", gate.slots.name)])
        }
        gate.lookOrdered(on: reactor)
      }
    }
    return verdict.looksAgainAfter
  }

  /// A task becomes ready at `time`.
  func scheduled(at time: MonotonicTime) {
    guard time < due else { return }
    due = time
    promotion.end()
  }

  private func promote(on reactor: isolated Reactor) async {
    while !isStopping {
      await promotion.wait(until: due, on: reactor)
      if isStopping || reactor.now < due { continue }
      due = .never
      do {
        if let seconds = try await room.queue.promote(on: reactor) {
          // What was not done at once, because somebody else has it in hand, is not asked for again and again.
          scheduled(at: reactor.now + max(.seconds(seconds), Limits.promotionPause))
        }
      } catch {
        scheduled(at: reactor.now + Limits.secondTry)
      }
    }
  }

  private func maintain(on reactor: isolated Reactor) async {
    while !isStopping {
      do {
        let blocked = try await room.queue.maintain(retentionSeconds: configuration.retention.seconds, on: reactor)
        if blocked > 0 { complain("others are in the way") }
      } catch {
        complain(error.message)
      }
      await reactor.sleep(for: configuration.maintenance)
    }
  }

  /// Looks what is in the queue, if this worker is the one of all that does, for whoever reads its metrics.
  private func measure(on reactor: isolated Reactor) async {
    while !isStopping {
      let stats = try? await room.queue.statsAsLeader(on: reactor)
      room.metrics.queue.show(stats)
      await reactor.sleep(for: Limits.measurePause)
    }
  }

  /// Partitions that nobody looks after make the queue slower from day to day.
  private func complain(_ reason: String) {
    room.metrics.maintenanceFailures.increment()
    log.warning("partitions could not be looked after", [("reason", reason)])
  }
}
