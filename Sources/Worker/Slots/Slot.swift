import Basics
import Reactor
import TaskQueue
import Tasks
import Telemetry

/// One slot: claims, computes, and completes together with the next claim, until it is told to leave. It does what its
/// gate says and tells it what came of that.
final class Slot {
  private let gate: SlotGate
  /// Which of its class it is, from 0 on.
  private let number: Int
  private unowned let work: WorkRoom

  private var completions: [Completion] = []
  private var identities: [Int64: TaskIdentity] = [:]
  private var isWaiting = false
  /// Whether it may hold tasks.
  private var isOccupied = false {
    didSet { if isOccupied != oldValue { work.slot(of: gate.slots, isOccupied: isOccupied, at: .current()) } }
  }
  /// Whether the completions may have been stored already, by a turn whose answer was lost.
  private var isRepeated = false
  private var floors = LaneFloors(sweepPause: Limits.claimSweepPause)
  private var lanes: LaneOrder
  /// Tasks claimed since the slot slept, and rests since it last claimed any.
  private var tasksSinceSleep = 0
  private var rests = 0
  private var claimed: [ClaimedTask] = []
  /// Lines of tasks that have ended and whose room nobody was told of, of those that can be limited.
  private var limitedLines: Set<Int16> = []
  /// Bytes of inputs and results that are held.
  private var heldBytes = 0 {
    didSet { work.metrics.taskBytes.add(heldBytes - oldValue) }
  }
  private var backoff = Backoff(base: .milliseconds(50), cap: .seconds(2 as UInt64))

  init(gate: SlotGate, number: Int, work: WorkRoom) {
    self.gate = gate
    self.number = number
    self.work = work
    lanes = LaneOrder(lines: gate.lines, isForSuspects: gate.slots.isForSuspects)
  }

  /// Runs until the worker stops and nothing of this slot's is left to report.
  func run(on reactor: isolated Reactor) async {
    var order = gate.slotFree(on: reactor)
    while true {
      switch order {
      case .claim(let claim):
        guard let next = await turn(claim, on: reactor) else { break }
        order = next
        continue
      case .compute: await compute(on: reactor)
      case .release: await release(on: reactor)
      case .rest:
        isOccupied = false
        rests += 1
        await reactor.sleep(for: work.isListening ? Limits.flowRest : Limits.deafRest)
      case .sleep:
        isOccupied = false
        let pause = gate.slots.isForSuspects ? work.soleRun.pause(at: reactor.now) : nil
        await gate.sleep(lookingAt: [floors.sweepDue, pause].compactMap(\.self).min(), on: reactor)
        (tasksSinceSleep, rests) = (0, 0)
      case .leave:
        isOccupied = false
        return waits(false, at: reactor.now)
      }
      // What was computed is stored before the slot leaves.
      while work.isStopping, !completions.isEmpty { _ = await turn(nil, on: reactor) }
      order = gate.slotFree(on: reactor)
    }
  }

  /// Completes what there is, and claims; returns what comes next, nil if the turn failed.
  private func turn(_ claim: WakeProtocol.Claim?, on reactor: isolated Reactor) async -> WakeProtocol.Order? {
    if let claim, !work.isStopping {
      if isHeldBack { return await turnAfterOrders(claim, on: reactor) }
      if !work.beats.mayClaim(at: reactor.now) { return await turnAfterBeat(claim, on: reactor) }
    }
    if claim != nil { isOccupied = true }
    if gate.slots.isForSuspects, work.soleRun.isTiring(at: reactor.now) { work.endSoleRun(on: reactor) }
    var fromStart = claim?.fromStart == true
    let wish = claim.map { self.wish(for: $0, fromStart: &fromStart, at: reactor.now) }
    let turn: Turn
    waits(true, at: reactor.now)
    do {
      turn = try await work.queue.turn(
        completing: completions, isRepeated: isRepeated, claiming: wish, on: reactor)
    } catch {
      // What was computed stays here and is reported again: the fence makes that safe.
      work.log.warning("a turn failed, trying again", [("slots", gate.slots.name), ("reason", "\(error)")])
      if error.isAnswer { waits(false, at: reactor.now) }
      isRepeated = true
      floors.forget()
      if wish != nil, !error.isAnswer { work.claimFailed(on: reactor) }
      // Nobody else is to wait for what this slot cannot get rid of.
      if gate.slots.isForSuspects, work.soleRun.isAlone { work.endSoleRun(on: reactor) }
      if let claim { gate.claimFailed(claim, on: reactor) }
      await reactor.sleep(for: backoff.next(using: &work.random))
      return nil
    }
    waits(false, at: reactor.now)
    if turn.isAnnounced { backoff.reset() }
    if !limitedLines.isEmpty { tellOfRoom(butFor: turn.claimed, on: reactor) }
    report(turn, on: reactor)
    guard let claim else { return nil }
    guard turn.isAnnounced || !turn.claimed.isEmpty else {
      // Without its row in place, a claim proves no more than one that failed.
      gate.claimFailed(claim, on: reactor)
      await reactor.sleep(for: backoff.next(using: &work.random))
      return nil
    }
    if gate.slots.isForSuspects, let wish, await !isTaken(turn, wish, claim, fromStart: fromStart, on: reactor) {
      return nil
    }
    claimed = turn.claimed
    countBytes()
    if let first = claimed.first {
      work.hold(first.lease)
      work.metrics.claims.increment()
      work.metrics.claimed.add(claimed.count)
      for task in claimed where task.attemptsBefore == 0 { work.metrics.waitSeconds.observe(task.waited) }
      tasksSinceSleep += claimed.count
      rests = 0
      if wish?.attempts != .last { floors.found(turn, at: reactor.now) }
    }
    return gate.claimCameBack(
      claim, turn, fromStart: fromStart, tasks: tasksSinceSleep, rests: rests, on: reactor)
  }

  /// What it claims now. `fromStart` is true afterwards if all that there is is looked at.
  private func wish(
    for claim: WakeProtocol.Claim, fromStart: inout Bool, at now: MonotonicTime
  ) -> ClaimWish {
    let attempts: ClaimWish.Attempts =
      gate.slots.isForSuspects ? work.soleRun.isAlone ? .last : .allButLast : .any
    let lanes = lanes.next(without: work.orders.closed(to: gate.slots))
    let places =
      attempts == .last
      ? lanes.map { ClaimWish.Place($0, floor: 0, runningMax: work.orders.runningMax[$0.line]) }
      : floors.places(lanes, runningMax: work.orders.runningMax, findsAll: fromStart, at: now)
    fromStart = fromStart || floors.sweepDue == nil
    return ClaimWish(
      group: gate.slots.group, places: places, count: gate.claimMax, announces: claim.announces, attempts: attempts,
      sharesPlaces: gate.slots.tasksPerPlace > 1)
  }

  /// Whether a claim of tasks whose worker was lost is to be taken for what it has brought. Either last attempts were
  /// passed over: if that brought nothing and such wait, another claim follows when nothing runs here. Or they alone
  /// were looked at: if that brought nothing, another follows with the others.
  private func isTaken(
    _ turn: Turn, _ wish: ClaimWish, _ claim: WakeProtocol.Claim, fromStart: Bool, on reactor: isolated Reactor
  ) async -> Bool {
    if !turn.claimed.isEmpty {
      if wish.attempts == .last { work.lastAttemptBegan(on: reactor) }
      return true
    }
    if wish.attempts == .last {
      work.endSoleRun(on: reactor)
    } else {
      guard fromStart, !work.isStopping, work.soleRun.pause(at: reactor.now) == nil else { return true }
      waits(true, at: reactor.now)
      do {
        let isWaitedFor = try await work.queue.lastAttemptsWait(in: wish.places, on: reactor)
        let hasTurn = isWaitedFor && !work.isStopping ? try await work.hasSoleTurn(on: reactor) : false
        waits(false, at: reactor.now)
        if !hasTurn || work.isStopping { return true }
        if !work.beginSoleRun(on: reactor) {
          gate.claimFailed(claim, on: reactor)
          // What it is told of meanwhile is for others.
          gate.heldBack(on: reactor)
          await work.becomeAlone(for: wish.places, on: reactor)
          gate.admitted()
          return false
        }
      } catch {
        waits(false, at: reactor.now)
        await reactor.sleep(for: backoff.next(using: &work.random))
      }
    }
    gate.claimFailed(claim, on: reactor)
    return false
  }

  /// Claims nothing, for others may believe this worker dead, and waits until it has said that it lives. What it has
  /// computed it reports: should somebody else have taken it over, that changes nothing.
  private func turnAfterBeat(
    _ claim: WakeProtocol.Claim, on reactor: isolated Reactor
  ) async -> WakeProtocol.Order? {
    gate.claimFailed(claim, on: reactor)
    if !completions.isEmpty { _ = await turn(nil, on: reactor) }
    if !work.isStopping { await work.beat(on: reactor) }
    return nil
  }

  /// Claims nothing, as people wish, or for a task that must be alone, until that has changed.
  private func turnAfterOrders(
    _ claim: WakeProtocol.Claim, on reactor: isolated Reactor
  ) async -> WakeProtocol.Order? {
    gate.claimFailed(claim, on: reactor)
    // Nobody waits for ever for what is done.
    while !completions.isEmpty { _ = await turn(nil, on: reactor) }
    isOccupied = false
    if gate.slots.isForSuspects, work.soleRun.isAlone { work.endSoleRun(on: reactor) }
    gate.heldBack(on: reactor)
    while isHeldBack, !work.isStopping { await work.waitForOrders(on: reactor) }
    gate.admitted()
    return nil
  }

  /// Whether it is to claim nothing for the present.
  private var isHeldBack: Bool {
    work.orders.keep(number, of: gate.slots)
      || !gate.slots.isForSuspects && work.soleRun.holdsBack(slow: gate.slots.isSlow)
  }

  /// Where no more tasks of a line may run than so many, one that has ended makes room: for this slot if it has claimed
  /// another of that line, and otherwise for one that sleeps elsewhere, be it one for suspects or for others.
  private func tellOfRoom(butFor claimed: [ClaimedTask], on reactor: isolated Reactor) {
    let taken = Set(claimed.compactMap(\.limitedLine))
    let freed = limitedLines.filter { work.orders.runningMax[$0] != nil && !taken.contains($0) }
    limitedLines.removeAll()
    for slots in SlotClass.all where TaskKind.lines(of: slots).contains(where: freed.contains) {
      gate.passOn(1, for: slots, on: reactor)
    }
  }

  /// Counts what was accepted and passes it on; what was not is somebody else's now.
  private func report(_ turn: Turn, on reactor: isolated Reactor) {
    isRepeated = false
    guard !completions.isEmpty else { return }
    for completion in completions { work.letGo(completion.lease) }
    settle(turn.accepted, on: reactor)
  }

  private func settle(_ accepted: [Int64], on reactor: isolated Reactor) {
    work.metrics.completed.add(accepted.count)
    let late = completions.count - accepted.count
    if late > 0 {
      work.metrics.stale.add(late)
      work.log.warning("completions came too late and were not stored", [("tasks", "\(late)")])
    }
    work.publish(completions, accepted: accepted, identities: identities, on: reactor)
    completions.removeAll(keepingCapacity: true)
    identities.removeAll(keepingCapacity: true)
    countBytes()
  }

  /// Whether it wants something of PostgreSQL and was not answered yet.
  private func waits(_ waits: Bool, at now: MonotonicTime) {
    guard waits != isWaiting else { return }
    isWaiting = waits
    if waits { work.waitBegan(at: now) } else { work.waitEnded(at: now) }
  }

  private func countBytes() {
    heldBytes = claimed.reduce(0) { $0 + $1.payload.count } + completions.reduce(0) { $0 + $1.resultBytes }
  }

  private func release(on reactor: isolated Reactor) async {
    await giveBack(claimed, on: reactor)
    work.letGo(claimed[0].lease)
    claimed.removeAll()
    countBytes()
  }

  /// Gives tasks of one lease back; those that were cancelled go nowhere.
  private func giveBack(_ tasks: [ClaimedTask], on reactor: isolated Reactor) async {
    waits(true, at: reactor.now)
    do {
      try await work.queue.release(lease: tasks[0].lease, ids: tasks.map(\.id), on: reactor)
      work.metrics.released.add(tasks.count)
    } catch {
      work.log.warning("could not release tasks; they are rescued later", [("reason", "\(error)")])
    }
    waits(false, at: reactor.now)
  }

  /// Computes what was claimed; of large tasks it stores a part after the other, and leaves the last for the next turn.
  private func compute(on reactor: isolated Reactor) async {
    let partBytesMax = work.configuration.memoryBytes / Limits.partShare
    var rest = claimed[...]
    while !rest.isEmpty {
      var bytes = 0
      let others = rest.dropFirst().prefix { task in
        bytes += task.payload.count
        return bytes + rest[rest.startIndex].payload.count <= partBytesMax
      }
      let part = Array(rest.prefix(1 + others.count))
      rest = rest.dropFirst(part.count)
      let began = reactor.now
      let attempts = await work.attempt(part, on: reactor)
      let mean = MonotonicTime.current().since(began).nanoseconds / UInt64(part.count)
      for _ in part { work.metrics.runSeconds.observe(TimeSpan(nanoseconds: mean)) }
      let brokenOff = zip(part, attempts).filter { $0.1.outcome == nil }.map(\.0)
      limitedLines.formUnion(part.compactMap(\.limitedLine))
      if let first = brokenOff.first {
        await giveBack(brokenOff, on: reactor)
        if brokenOff.count == claimed.count { work.letGo(first.lease) }
        if !limitedLines.isEmpty { tellOfRoom(butFor: [], on: reactor) }
      }
      for (task, attempt) in zip(part, attempts) {
        guard let outcome = attempt.outcome else { continue }
        completions.append(Completion(id: task.id, lease: task.lease, outcome: outcome))
        if let identity = attempt.identity { identities[task.id] = identity }
      }
      countBytes()
      if !rest.isEmpty, !completions.isEmpty { await storePart(on: reactor) }
    }
    claimed.removeAll(keepingCapacity: true)
    countBytes()
    if gate.slots.isForSuspects { work.lastAttemptEnded(on: reactor) }
    gate.computed()
  }

  private func storePart(on reactor: isolated Reactor) async {
    waits(true, at: reactor.now)
    do {
      settle(try await work.queue.completeEach(completions, on: reactor), on: reactor)
      waits(false, at: reactor.now)
    } catch {
      if error.isAnswer { waits(false, at: reactor.now) }
      // They are reported again with the others of their lease.
      work.log.warning("results could not be stored yet", [("slots", gate.slots.name), ("reason", "\(error)")])
      isRepeated = true
    }
  }
}

extension ClaimedTask {
  /// The line that it stood in, if its tasks are claimed one by one: only of such can be said how many run.
  fileprivate var limitedLine: Int16? {
    guard let line = TaskKind.named(kind)?.line(payload.count), line.slots.claimMax == 1 else { return nil }
    return line.number
  }
}

extension Completion {
  fileprivate var resultBytes: Int {
    if case .completed(let result) = outcome { result.count } else { 0 }
  }
}
