import Basics

@testable import TaskQueue

/// Several workers, each with slots of two groups, and submitters over a modelled table. Every statement takes time:
/// it is begun, carried out and answered at moments that the seed chooses, it may fail before or after it took effect,
/// sessions break, workers die, freeze, stop, and are taken over from. What it finds wrong it returns as a sentence.
struct QueueSimulation {
  /// Something under way. Those of the database go on when their worker is frozen or dead.
  enum Effect {
    case commit(tasks: [Int], seqs: [Int])
    case notify(group: Int, tasks: Int)
    case begin(Int, slot: Int)
    case announce(Int, slot: Int)
    case look(Int, slot: Int)
    case settle(Int, slot: Int)
    case answer(Int, slot: Int)
    case fail(Int, slot: Int)
    case compute(Int, slot: Int)
    case release(Int, slot: Int, lease: Int)
    case withdraw(Int, group: Int, WakeProtocol.Rows)
    case withdrawn(Int, group: Int, number: Int, succeeded: Bool)
    case deliver(Int)
    case lost(Int)
    case reconnect(Int)
    case listen(Int)
    case promote(task: Int)
    case promoted(task: Int)
    case released(lease: Int)
    case cancelled(rest: [Int])

    /// The worker without whose process it cannot happen.
    var process: Int? {
      switch self {
      case .begin(let worker, _), .answer(let worker, _), .fail(let worker, _), .compute(let worker, _),
        .withdrawn(let worker, _, _, _), .deliver(let worker), .lost(let worker), .reconnect(let worker),
        .listen(let worker):
        worker
      default: nil
      }
    }

    /// The worker whose statement it is.
    var statementOwner: Int? {
      switch self {
      case .announce(let worker, _), .look(let worker, _), .settle(let worker, _), .release(let worker, _, _),
        .withdraw(let worker, _, _):
        worker
      default: nil
      }
    }
  }

  struct Slot {
    let group: Int
    var claim: WakeProtocol.Claim?
    /// The lease whose tasks were computed and are to be completed, and the one that the claim under way took.
    var held: Int?
    var taken: (lease: Int, firstSeq: Int)?
    var takenCount = 0
    var completed = false
    /// Whether the row that the claim under way is to put in place is there.
    var isAnnounced = false
    var floor = 0
    var tasks = 0
    var rests = 0
    var isAsleep = false
    var isHeldBack = false
    var isOver = false
  }

  struct Worker {
    var gates: [WakeProtocol]
    var slots: [Slot]
    var isDead = false
    var isFrozen = false
    var isStopping = false
    var isTakenOver = false
    var sleepers: [[Int]] = [[], []]
    /// How many slots may claim, as people want it.
    var slotsMax = Int.max
  }

  static let batch = [3, 1]
  /// Tasks that share a row of the line.
  static let row = [2, 1]
  var random: SeededRandom
  var table = QueueModel()
  var workers: [Worker] = []
  var pending: [Effect] = []
  var hasFaults = true
  var computes = true
  var problem: String?
  /// Whether to print each effect as it is carried out.
  let isTold: Bool

  init(seed: UInt64, isTold: Bool) {
    random = SeededRandom(seed: seed)
    self.isTold = isTold
  }

  /// Runs the whole story of `seed` and returns what went wrong, nil if nothing did.
  static func run(seed: UInt64, isTold: Bool) -> String? {
    var simulation = QueueSimulation(seed: seed, isTold: isTold)
    for _ in 0..<simulation.below(3) + 1 { simulation.startWorker() }
    for _ in 0..<simulation.below(60) + 20 { simulation.step() }
    simulation.calm(computing: simulation.below(2) == 0)
    // Beside those that compute on and on, whoever sleeps must hear of new tasks, one by one.
    for _ in 0..<3 where simulation.problem == nil {
      simulation.submit(count: 1, group: simulation.below(2))
      simulation.calm(computing: false)
    }
    simulation.calm(computing: true, freely: true)
    simulation.checkEnd()
    return simulation.problem
  }

  mutating func below(_ bound: Int) -> Int { Int(random.next() % UInt64(bound)) }

  /// Whether something goes wrong that goes wrong once in `odds` times.
  mutating func fault(_ odds: Int) -> Bool { hasFaults && below(odds) == 0 }

  private mutating func startWorker() {
    let heavy = below(2) + 1
    let flow = below(2) == 0 ? WakeProtocol.Flow(tasksMin: 2, restsMax: 2) : .none
    workers.append(
      Worker(
        gates: [WakeProtocol(slots: 1, flow: flow), WakeProtocol(slots: heavy)],
        slots: [Slot(group: 0)] + (0..<heavy).map { _ in Slot(group: 1) }))
    let session = table.addSession()
    pending.append(.reconnect(session))
    for slot in workers[session].slots.indices { pending.append(.begin(session, slot: slot)) }
  }

  private mutating func step() {
    if problem != nil { return }
    switch below(32) {
    case 0..<4: submit(count: below(4) + 1, group: below(2))
    case 4 where below(4) == 0: disturb()
    case 5: if let rest = table.lockRow(below(8)) { pending.append(.cancelled(rest: rest)) }
    default: if let index = nextEffect() { perform(pending.swapRemove(at: index)) }
    }
  }

  private mutating func submit(count: Int, group: Int) {
    let tasks = (0..<count).map { _ in table.addTask(group: group) }
    // Numbers are drawn when a statement runs, and become visible in the order of commits.
    let seqs = tasks.map { _ in table.nextSeq() }
    pending.append(.commit(tasks: tasks, seqs: seqs))
  }

  private mutating func disturb() {
    let worker = below(workers.count)
    guard !workers[worker].isDead else {
      if !workers[worker].isTakenOver { takeOver(worker) }
      return
    }
    switch below(7) {
    case 6: order(worker, slotsMax: below(4))
    case 0:
      if isTold { print("dies: \(worker)") }
      workers[worker].isDead = true
      table.lose(worker)
      if workers.count < 5 { startWorker() }
    case 1: workers[worker].isFrozen.toggle()
    case 2 where workers[worker].isFrozen: takeOver(worker)
    case 3 where !workers[worker].isStopping && !workers[worker].isFrozen && workers.count < 5:
      stop(worker)
      startWorker()
    default:
      guard table.isReachable[worker] else { return }
      table.lose(worker)
      pending.append(.lost(worker))
    }
  }

  /// Another worker takes over from one that it believes dead. Tasks are ready again, and everybody looks; the one
  /// that was meant, should it live, loses its idle rows and hears of that.
  private mutating func takeOver(_ worker: Int) {
    if isTold { print("taken over from: \(worker)") }
    if workers[worker].isDead {
      // What its sessions still had to do is over long before anybody believes it dead.
      while let index = pending.firstIndex(where: { $0.statementOwner == worker }) {
        perform(pending.swapRemove(at: index))
      }
      workers[worker].isTakenOver = true
    }
    _ = table.takeLeases(of: worker)
    for row in table.idle where row.owner == worker {
      tell(worker, QueueModel.Note(group: row.group, tasks: 1, row: row.number))
    }
    table.idle.removeAll { $0.owner == worker }
    for other in workers.indices where other != worker { tell(other, nil) }
  }

  /// At a commit everybody is told to look.
  mutating func tellAll() {
    for worker in workers.indices { tell(worker, nil) }
  }

  private mutating func tell(_ worker: Int, _ note: QueueModel.Note?) {
    if table.tell(worker, note) { pending.append(.deliver(worker)) }
  }

  /// So many slots of the worker may claim from now on; those that were held back look whether they may.
  private mutating func order(_ worker: Int, slotsMax: Int) {
    if workers[worker].isDead || workers[worker].isFrozen { return }
    if isTold { print("orders: \(worker), \(slotsMax)") }
    workers[worker].slotsMax = slotsMax
    admit(worker)
    for group in 0..<2 { follow(workers[worker].gates[group].lookOrdered(), worker, group) }
  }

  private mutating func admit(_ worker: Int) {
    for slot in workers[worker].slots.indices where workers[worker].slots[slot].isHeldBack && !isHeldBack(worker, slot)
    {
      workers[worker].slots[slot].isHeldBack = false
      workers[worker].gates[workers[worker].slots[slot].group].admitted()
      pending.append(.begin(worker, slot: slot))
    }
  }

  /// Whether people want a slot to claim nothing.
  func isHeldBack(_ worker: Int, _ slot: Int) -> Bool {
    slot >= workers[worker].slotsMax && !workers[worker].isStopping
  }

  private mutating func stop(_ worker: Int) {
    if isTold { print("stops: \(worker)") }
    workers[worker].isStopping = true
    admit(worker)
    for group in 0..<2 { follow(workers[worker].gates[group].stopOrdered(), worker, group) }
  }

  /// Lets everything come to rest without further faults: the frozen thaw, the dead are taken over from.
  mutating func calm(computing: Bool, freely: Bool = false) {
    if freely { for worker in workers.indices { order(worker, slotsMax: .max) } }
    hasFaults = false
    computes = computing
    for worker in workers.indices { workers[worker].isFrozen = false }
    var left = 4000
    while problem == nil {
      if let index = nextEffect() {
        perform(pending.swapRemove(at: index))
      } else if !findDeadAndLost() {
        break
      }
      left -= 1
      if left == 0 { problem = "it never comes to rest: \(pending.prefix(4))" }
    }
    checkRest()
    computes = true
  }

  /// What the others' looks and a worker's own beat find in time; false if there is nothing.
  private mutating func findDeadAndLost() -> Bool {
    guard workers.contains(where: { !$0.isDead && !$0.isStopping }) else {
      startWorker()
      return true
    }
    for worker in workers.indices {
      if workers[worker].isDead, !workers[worker].isTakenOver {
        takeOver(worker)
        return true
      }
      let known = workers[worker].slots.compactMap { $0.held }
      if !table.takeLeases(of: worker, except: known).isEmpty {
        tellAll()
        return true
      }
    }
    return false
  }

  private mutating func nextEffect() -> Int? {
    if pending.isEmpty { return nil }
    let start = below(pending.count)
    for offset in 0..<pending.count {
      let index = (start + offset) % pending.count
      if let worker = pending[index].process, workers[worker].isFrozen { continue }
      if !computes, case .compute(let worker, _) = pending[index], !workers[worker].isDead { continue }
      return index
    }
    return nil
  }
}

extension Array {
  mutating func swapRemove(at index: Int) -> Element {
    swapAt(index, count - 1)
    return removeLast()
  }
}
