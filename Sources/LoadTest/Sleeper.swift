import Basics
import Reactor
import TaskQueue

/// A worker with one slot that sleeps until it is told of tasks, as real ones do, and completes at once what it claims.
final class Sleeper: QueueListener {
  /// Called for what it has claimed.
  var claimed: ([ClaimedTask]) -> Void = { _ in }
  private let queue: QueueWorker
  private let group: Int16
  private let lane: Lane
  private var wake = WakeProtocol(slots: 1)
  private let woken = Pause()
  private let slept = Pause()
  private var isListening = false
  private var isAsleep = false
  private var isStopped = false
  private(set) var failure: QueueError?
  /// How often it was told of tasks.
  private(set) var notifications = 0

  /// One for the tasks of `group` that stand in `lane`.
  init(_ queue: QueueWorker, group: Int16, lane: Lane) {
    self.queue = queue
    self.group = group
    self.lane = lane
  }

  /// Waits until it sleeps, or has failed.
  func sleeps(on reactor: isolated Reactor) async {
    while !isAsleep, failure == nil, !isStopped { await slept.wait(until: .never, on: reactor) }
  }

  /// It ends soon.
  func stop() {
    isStopped = true
    slept.end()
    woken.end()
  }

  /// Claims, and sleeps when there is nothing, until it is stopped.
  func run(on reactor: isolated Reactor) async {
    while !isListening, !isStopped { await woken.wait(until: .never, on: reactor) }
    do throws(QueueError) {
      try await runOrFail(on: reactor)
    } catch {
      failure = error
      slept.end()
    }
  }

  private func runOrFail(on reactor: isolated Reactor) async throws(QueueError) {
    var done: [Completion] = []
    var step = wake.slotFree()
    while !isStopped {
      perform(step, on: reactor)
      switch step.order {
      case .claim(let claim):
        let wish = ClaimWish(
          group: group, places: [ClaimWish.Place(lane, floor: 0)], count: 16, announces: claim.announces)
        let turn = try await queue.turn(completing: done, isRepeated: false, claiming: wish, on: reactor)
        if !turn.claimed.isEmpty { claimed(turn.claimed) }
        done = turn.claimed.map {
          Completion(id: $0.id, lease: $0.lease, outcome: .completed(result: Array("{}".utf8)))
        }
        step = wake.claimCameBack(
          claim, found: done.count, isFull: turn.isFull, isAnnounced: turn.isAnnounced, fromStart: true)
      case .compute:
        wake.computed()
        step = wake.slotFree()
      case .rest:
        await reactor.sleep(for: .milliseconds(1))
        step = wake.slotFree()
      case .sleep:
        isAsleep = true
        slept.end()
        while isAsleep, !isStopped { await woken.wait(until: .never, on: reactor) }
        step = wake.slotFree()
      case .release, .leave, nil: return
      }
    }
  }

  private func perform(_ step: WakeProtocol.Step, on reactor: isolated Reactor) {
    if step.wakes > 0 {
      isAsleep = false
      woken.end()
    }
    guard let rows = step.withdraws else { return }
    Task.immediate(executorPreference: reactor.queue) {
      let isAway: Void? = try? await queue.withdraw(group: group, rows, on: reactor)
      perform(wake.withdrawn(rows.upTo, succeeded: isAway != nil), on: reactor)
    }
  }

  func listening(on reactor: isolated Reactor) {
    isListening = true
    woken.end()
    perform(wake.listening(), on: reactor)
  }
  func deafened(on reactor: isolated Reactor) { perform(wake.connectionLost(), on: reactor) }
  func heard(_ wakeUp: WakeUp, on reactor: isolated Reactor) {
    switch wakeUp {
    case .tasks(let words):
      notifications += 1
      for word in words where word.group == group {
        perform(wake.notified(tasks: word.tasks, row: word.row), on: reactor)
      }
    case .look: perform(wake.lookOrdered(), on: reactor)
    default: break
    }
  }
}
