import Basics
import Reactor
import TaskQueue
import Tasks

/// Where the slots of one class sleep, and who performs what `WakeProtocol` decides for them.
final class SlotGate: EventHandler {
  let slots: SlotClass
  /// The lines whose tasks its slots run.
  let lines: [Int16]
  private let queue: QueueWorker
  private let count: Int
  /// Tasks that are claimed at once.
  let claimMax: Int
  private var wake: WakeProtocol
  private lazy var lookTimer = ReactorTimer(self)
  private var sleeping = RingQueue<UnsafeContinuation<Void, Never>>()

  init(_ slots: SlotClass, count: Int, claimMax: Int, queue: QueueWorker) {
    self.claimMax = claimMax
    self.slots = slots
    lines = TaskKind.lines(of: slots)
    self.queue = queue
    self.count = count
    let flow = slots.isInFlows ? WakeProtocol.Flow(tasksMin: Limits.flowTasksMin, restsMax: Limits.flowRests) : .none
    wake = WakeProtocol(slots: count, flow: flow)
  }

  /// Whether its slots run `task`.
  func runs(_ task: QueueWorker.WaitingTask) -> Bool {
    lines.contains(task.line) && task.isSuspect == slots.isForSuspects
  }

  /// How many slots sleep.
  var sleeperCount: Int { wake.sleepers }

  /// Whether all slots sleep, or have nothing to do for the present.
  var isAsleep: Bool { wake.sleepers + wake.absent == count }

  /// What a slot does next that is awake and has nothing to do.
  func slotFree(on reactor: isolated Reactor) -> WakeProtocol.Order {
    perform(wake.slotFree(), on: reactor) ?? .leave
  }

  /// A slot has computed what it claimed.
  func computed() { wake.computed() }

  /// What a slot does next whose claim is back.
  func claimCameBack(
    _ claim: WakeProtocol.Claim, _ turn: Turn, fromStart: Bool, tasks: Int, rests: Int, on reactor: isolated Reactor
  ) -> WakeProtocol.Order {
    let step = wake.claimCameBack(
      claim, found: turn.claimed.count, isFull: turn.isFull, isAnnounced: turn.isAnnounced, fromStart: fromStart,
      tasks: tasks, rests: rests)
    return perform(step, on: reactor) ?? .leave
  }

  /// A claim failed; its slot will ask again.
  func claimFailed(_ claim: WakeProtocol.Claim, on reactor: isolated Reactor) {
    perform(wake.claimFailed(claim), on: reactor)
  }

  /// A slot claims nothing until it is admitted, as people want it.
  func heldBack(on reactor: isolated Reactor) { perform(wake.heldBack(), on: reactor) }

  /// A slot that was held back asks for an order next.
  func admitted() { wake.admitted() }

  /// Suspends a slot that was told to sleep until it is woken, at `due` at the latest.
  func sleep(lookingAt due: MonotonicTime?, on reactor: isolated Reactor) async {
    if let due { reactor.arm(lookTimer, at: due) }
    await withUnsafeContinuation { sleeping.append($0) }
  }

  /// Slots sleep that have not looked at everything.
  override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    if wake.sleepers > 0 { lookOrdered(on: reactor) }
  }

  /// Somebody took an idle row away, for tasks of this class.
  func notified(_ word: WakeUp.Word, on reactor: isolated Reactor) {
    perform(wake.notified(tasks: word.tasks, row: word.row), on: reactor)
  }

  /// There may be tasks that nobody tells of.
  func lookOrdered(on reactor: isolated Reactor) { perform(wake.lookOrdered(), on: reactor) }

  /// Notifications arrive.
  func listening(on reactor: isolated Reactor) { perform(wake.listening(), on: reactor) }

  /// Notifications do not arrive any more.
  func deafened(on reactor: isolated Reactor) { perform(wake.connectionLost(), on: reactor) }

  /// All slots are to leave.
  func stop(on reactor: isolated Reactor) { perform(wake.stopOrdered(), on: reactor) }

  @discardableResult
  private func perform(_ step: WakeProtocol.Step, on reactor: isolated Reactor) -> WakeProtocol.Order? {
    for _ in 0..<step.wakes { sleeping.popFirst()?.resume() }
    if let rows = step.withdraws { withdraw(rows, on: reactor) }
    if step.relays > 0 { passOn(step.relays, for: slots, on: reactor) }
    return step.order
  }

  private func withdraw(_ rows: WakeProtocol.Rows, on reactor: isolated Reactor) {
    Task.immediate(executorPreference: reactor.queue) {
      var succeeded = true
      do {
        try await queue.withdraw(group: slots.group, rows, on: reactor)
      } catch {
        succeeded = false
        await reactor.sleep(for: Limits.secondTry)
      }
      perform(wake.withdrawn(rows.upTo, succeeded: succeeded), on: reactor)
    }
  }

  /// Tells others, and slots of this worker that sleep, of `tasks` tasks for `slots`.
  func passOn(_ tasks: Int, for slots: SlotClass, on reactor: isolated Reactor) {
    let workers = (tasks + slots.tasksPerWakeUp - 1) / slots.tasksPerWakeUp
    Task.immediate(executorPreference: reactor.queue) {
      for _ in 0..<Limits.relayTries {
        do {
          return try await queue.tell(group: slots.group, tasks: tasks, workers: workers, on: reactor)
        } catch {
          await reactor.sleep(for: Limits.secondTry)
        }
      }
    }
  }
}
