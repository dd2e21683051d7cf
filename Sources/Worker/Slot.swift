import Basics
import Hashing
import Postgres
import Reactor
import TaskQueue
import Telemetry

/// One slot: claims, computes, and completes together with the next claim, until it is told to stop.
///
///     ┌─► claim ──some──► compute ──► complete + claim ──some──► compute …
///     │     └──none──► announce, claim again ──none──► sleep until notified
final class Slot {
  private let group: HashKind.SlotGroup
  private let lane: Lane
  private let batchMax: Int
  private let gate: SlotGate
  private unowned let work: WorkRoom

  private var completions: [Completion] = []
  private var inputs: [Int64: ClaimedTask] = [:]
  private var endedLeases: [Int64] = []
  /// Where claims start; see `Claims.turn`.
  private var floor: Int64 = 0
  private var nextSweep = MonotonicTime(nanoseconds: 0)
  private var wasWoken = false
  /// Tasks claimed since the slot slept, and claims since then that found nothing one after the other.
  private var tasksSinceSleep = 0
  private var emptyTurns = 0
  private var backoff = Backoff(base: .milliseconds(50), cap: .seconds(2 as UInt64))

  init(group: HashKind.SlotGroup, batchMax: Int, gate: SlotGate, work: WorkRoom) {
    self.group = group
    lane = Lane(group: group.rawValue, priority: .normal)
    self.batchMax = batchMax
    self.gate = gate
    self.work = work
  }

  /// Runs until the worker stops and nothing of this slot's is left to report.
  func run(on reactor: isolated Reactor) async {
    while !work.isStopping || !completions.isEmpty {
      do {
        try await turn(on: reactor)
        backoff.reset()
      } catch {
        // What was computed stays here and is reported again: the fence makes that safe.
        work.log.warning("a turn failed, trying again", [("group", "\(group)"), ("reason", "\(error)")])
        gate.forgetAnnouncement()
        floor = 0
        await reactor.sleep(for: backoff.next(using: &work.random))
      }
    }
  }

  private func turn(on reactor: isolated Reactor) async throws(PostgresError) {
    let connection = try await work.client.connection(on: reactor)
    if reactor.now >= nextSweep {
      floor = 0
      nextSweep = reactor.now + .seconds(1 as UInt64)
    }
    let claims = work.claims
    // Whoever was notified had the row taken away, also for those of the group who sleep on.
    if gate.needsAnnouncement { try await gate.announce(claims, connection, on: reactor) }
    let announcement = gate.isAnnounced ? gate.announcement : nil
    let startedAtZero = floor == 0
    // Whoever was woken, or comes from work, finds that nobody of the group sleeps any more and says so.
    let wakes = (wasWoken || !completions.isEmpty) && gate.takeAnnouncement()
    defer { if wakes { gate.announcementTaken() } }
    wasWoken = false
    let turn = try await claims.turn(
      completing: completions, endedLeases: endedLeases, claimingFrom: work.isStopping ? nil : lane, count: batchMax,
      floor: floor, wakes: wakes, connection: connection, on: reactor)
    report(turn, on: reactor)
    tasksSinceSleep += turn.claimed.count
    emptyTurns = turn.claimed.isEmpty ? emptyTurns + 1 : 0
    if turn.claimed.isEmpty {
      if work.isStopping { return }
      try await rest(after: announcement, startedAtZero: startedAtZero, connection, on: reactor)
    } else {
      floor = turn.firstSeq ?? floor
      work.hold(turn.claimed[0].lease)
      if work.isStopping {
        await release(turn.claimed, claims, connection, on: reactor)
      } else {
        if turn.claimed.count == batchMax { gate.wake(1) }
        await compute(turn.claimed, on: reactor)
      }
    }
  }

  /// Nothing was found above the floor. Before it may sleep, a slot looks from the start, after its idle row is in
  /// place.
  private func rest(
    after announcement: Int?, startedAtZero: Bool, _ connection: PostgresConnection, on reactor: isolated Reactor
  ) async throws(PostgresError) {
    if startedAtZero, gate.maySleep(seen: announcement) {
      await gate.sleep(on: reactor)
      wasWoken = true
      tasksSinceSleep = 0
      emptyTurns = 0
    } else if group == .quick, tasksSinceSleep >= Limits.flowTasksMin, emptyTurns <= Limits.flowPauses {
      // Tasks flow: sleeping and being woken for the next few would cost PostgreSQL more than letting them gather.
      await reactor.sleep(for: Limits.flowPause)
    } else {
      try await gate.announce(work.claims, connection, on: reactor)
    }
    floor = 0
  }

  /// Counts what was accepted and passes it on; what was not is somebody else's now.
  private func report(_ turn: Claims.Turn, on reactor: isolated Reactor) {
    guard !completions.isEmpty || !endedLeases.isEmpty else { return }
    work.metrics.completed.add(turn.accepted.count)
    work.metrics.stale.add(completions.count - turn.accepted.count)
    if turn.accepted.count < completions.count {
      work.log.warning(
        "completions came too late and were not stored",
        [("tasks", "\(completions.count - turn.accepted.count)")])
    }
    for lease in endedLeases { work.letGo(lease) }
    work.publish(completions, accepted: turn.accepted, inputs: inputs, on: reactor)
    completions.removeAll(keepingCapacity: true)
    endedLeases.removeAll(keepingCapacity: true)
    inputs.removeAll(keepingCapacity: true)
  }

  private func release(
    _ tasks: [ClaimedTask], _ claims: Claims, _ connection: PostgresConnection, on reactor: isolated Reactor
  ) async {
    do {
      try await claims.release(
        lease: tasks[0].lease, ids: tasks.map(\.id), connection: connection, on: reactor)
      work.metrics.released.add(tasks.count)
    } catch {
      work.log.warning("could not release tasks; they are rescued later", [("reason", "\(error)")])
    }
    work.letGo(tasks[0].lease)
  }

  private func compute(_ tasks: [ClaimedTask], on reactor: isolated Reactor) async {
    work.metrics.claimed.add(tasks.count)
    let outcomes = await work.compute(tasks, group: group, on: reactor)
    for (task, outcome) in zip(tasks, outcomes) {
      completions.append(Completion(id: task.id, lease: task.lease, outcome: outcome))
      inputs[task.id] = task
    }
    endedLeases.append(tasks[0].lease)
  }
}
