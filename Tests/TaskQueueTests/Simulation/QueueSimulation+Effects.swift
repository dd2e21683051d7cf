@testable import TaskQueue

extension QueueSimulation {
  /// Carries one effect out, and adds what follows from it.
  mutating func perform(_ effect: Effect) {
    if let process = effect.process, workers[process].isDead { return }
    if isTold { print(effect) }
    switch effect {
    case .commit(let tasks, let seqs):
      let places = zip(seqs, tasks).map { (seq: $0, task: $1) }
      let size = Self.row[table.groups[tasks[0]]]
      for first in stride(from: 0, to: places.count, by: size) {
        table.makeReady(Array(places[first..<min(first + size, places.count)]))
      }
      pending.append(.notify(group: table.groups[tasks[0]], tasks: tasks.count))
    case .notify(let group, let tasks):
      if fault(8) { return pending.append(effect) }
      let before = table.boxes.map(\.count)
      table.notify(group: group, tasks: tasks, workers: group == 0 ? 1 : tasks)
      for worker in before.indices {
        for _ in before[worker]..<table.boxes[worker].count { pending.append(.deliver(worker)) }
      }
    // Between the statement and its commit others announce and look, and do not see what is to come.
    case .promote(let task): pending.append(.promoted(task: task))
    case .promoted(let task):
      table.makeReady(task, seq: table.nextSeq())
      tellAll()
    case .begin(let worker, let slot): begin(worker, slot)
    case .announce(let worker, let slot):
      if isCut(worker) { return pending.append(.fail(worker, slot: slot)) }
      // It may fail alone, for it is a transaction of its own: the claim behind it looks all the same.
      workers[worker].slots[slot].isAnnounced = !fault(16)
      if workers[worker].slots[slot].isAnnounced {
        let (group, rows) = (workers[worker].slots[slot].group, workers[worker].slots[slot].claim!.announces!)
        table.announce(worker, group, rows)
      }
      pending.append(fault(16) ? .fail(worker, slot: slot) : .look(worker, slot: slot))
    case .look(let worker, let slot): look(worker, slot)
    case .settle(let worker, let slot): settle(worker, slot)
    case .answer(let worker, let slot): answer(worker, slot)
    case .fail(let worker, let slot):
      let group = workers[worker].slots[slot].group
      if let claim = workers[worker].slots[slot].claim {
        follow(workers[worker].gates[group].claimFailed(claim), worker, group)
      }
      pending.append(.begin(worker, slot: slot))
    case .compute(let worker, let slot):
      workers[worker].gates[workers[worker].slots[slot].group].computed()
      pending.append(.begin(worker, slot: slot))
    case .release(let worker, let slot, let lease):
      pending.append(.released(lease: lease))
      pending.append(.begin(worker, slot: slot))
    case .released(let lease): if table.release(lease) { tellAll() }
    case .cancelled(let rest):
      table.unlockRow(rest)
      tellAll()
    default: performForProcess(effect)
    }
  }

  private mutating func performForProcess(_ effect: Effect) {
    switch effect {
    case .withdraw(let worker, let group, let rows):
      let fails = isCut(worker)
      if !fails || below(2) == 0 { table.withdraw(worker, group, rows) }
      pending.append(.withdrawn(worker, group: group, number: rows.upTo, succeeded: !fails))
    case .withdrawn(let worker, let group, let number, let succeeded):
      follow(workers[worker].gates[group].withdrawn(number, succeeded: succeeded), worker, group)
    case .deliver(let worker):
      guard !table.boxes[worker].isEmpty else { return }
      guard let note = table.boxes[worker].removeFirst() else {
        for group in 0..<2 { follow(workers[worker].gates[group].lookOrdered(), worker, group) }
        return
      }
      let step = workers[worker].gates[note.group].notified(tasks: note.tasks, row: note.row)
      follow(step, worker, note.group)
    case .lost(let worker):
      for group in 0..<2 { follow(workers[worker].gates[group].connectionLost(), worker, group) }
      pending.append(.reconnect(worker))
    case .reconnect(let worker):
      // From now on it counts as living, but what is sent to it before it listens is lost.
      table.isReachable[worker] = true
      pending.append(.listen(worker))
    case .listen(let worker):
      table.listens(worker)
      for group in 0..<2 { follow(workers[worker].gates[group].listening(), worker, group) }
    default: break
    }
  }

  /// Whether a statement of this worker fails: its process has died, or a connection breaks.
  private mutating func isCut(_ worker: Int) -> Bool {
    workers[worker].isDead ? below(2) == 0 : fault(16)
  }

  private mutating func begin(_ worker: Int, _ slot: Int) {
    let group = workers[worker].slots[slot].group
    guard !workers[worker].isStopping || workers[worker].slots[slot].held == nil else {
      // What was computed is still completed, without a claim.
      workers[worker].slots[slot].claim = nil
      return pending.append(.look(worker, slot: slot))
    }
    let step = workers[worker].gates[group].slotFree()
    guard isHeldBack(worker, slot), case .claim(let claim) = step.order else { return obey(step, worker, slot) }
    follow(step, worker, group)
    follow(workers[worker].gates[group].claimFailed(claim), worker, group)
    guard workers[worker].slots[slot].held == nil else {
      workers[worker].slots[slot].claim = nil
      return pending.append(.look(worker, slot: slot))
    }
    workers[worker].slots[slot].isHeldBack = true
    follow(workers[worker].gates[group].heldBack(), worker, group)
  }

  /// Performs a step that is about a slot.
  private mutating func obey(_ step: WakeProtocol.Step, _ worker: Int, _ slot: Int) {
    let group = workers[worker].slots[slot].group
    switch step.order {
    case .claim(let claim):
      workers[worker].slots[slot].claim = claim
      workers[worker].slots[slot].isAnnounced = claim.announces == nil
      pending.append(claim.announces == nil ? .look(worker, slot: slot) : .announce(worker, slot: slot))
    case .compute: pending.append(.compute(worker, slot: slot))
    case .release:
      pending.append(.release(worker, slot: slot, lease: workers[worker].slots[slot].held!))
      workers[worker].slots[slot].held = nil
    case .rest:
      workers[worker].slots[slot].rests += 1
      workers[worker].slots[slot].floor = 0
      pending.append(.begin(worker, slot: slot))
    case .sleep:
      workers[worker].slots[slot].isAsleep = true
      workers[worker].sleepers[group].append(slot)
    case .leave: workers[worker].slots[slot].isOver = true
    case nil: break
    }
    follow(step, worker, group)
  }

  /// Performs what a step asks for besides.
  mutating func follow(_ step: WakeProtocol.Step, _ worker: Int, _ group: Int) {
    for _ in 0..<step.wakes {
      let slot = workers[worker].sleepers[group].removeFirst()
      workers[worker].slots[slot].isAsleep = false
      workers[worker].slots[slot].floor = 0
      workers[worker].slots[slot].tasks = 0
      workers[worker].slots[slot].rests = 0
      pending.append(.begin(worker, slot: slot))
    }
    if let rows = step.withdraws { pending.append(.withdraw(worker, group: group, rows)) }
    if step.relays > 0 { pending.append(.notify(group: group, tasks: step.relays)) }
  }

  private mutating func look(_ worker: Int, _ slot: Int) {
    if isCut(worker) { return pending.append(.fail(worker, slot: slot)) }
    let state = workers[worker].slots[slot]
    if let held = state.held { table.lock(held) }
    workers[worker].slots[slot].taken = nil
    if let claim = state.claim {
      workers[worker].slots[slot].taken = table.claim(
        worker, state.group, floor: claim.fromStart ? 0 : state.floor, atMost: Self.batch[state.group])
    }
    pending.append(.settle(worker, slot: slot))
  }

  private mutating func settle(_ worker: Int, _ slot: Int) {
    let state = workers[worker].slots[slot]
    if isCut(worker) {
      if let held = state.held { table.unlock(held) }
      if let taken = state.taken { table.rollBackClaim(taken.lease) }
      return pending.append(.fail(worker, slot: slot))
    }
    if state.held != nil, fault(12) { return settleOneByOne(worker, slot) }
    if let held = state.held {
      table.unlock(held)
      let tasks = table.leases.first { $0.id == held }?.tasks ?? []
      let retrying = below(6) == 0 ? tasks.first : nil
      let accepted = table.complete(held, retrying: retrying)
      if accepted, let retrying { pending.append(.promote(task: retrying)) }
    }
    workers[worker].slots[slot].completed = state.held != nil
    if let taken = state.taken {
      workers[worker].slots[slot].takenCount = table.leases.first { $0.id == taken.lease }!.tasks.count
      table.commitClaim(taken.lease)
    }
    pending.append(fault(16) ? .fail(worker, slot: slot) : .answer(worker, slot: slot))
  }

  /// A result was refused, and with it the whole transaction: each task is completed in one of its own, and nothing is
  /// claimed. That may be cut short anywhere, and is then tried again with what is left.
  private mutating func settleOneByOne(_ worker: Int, _ slot: Int) {
    let state = workers[worker].slots[slot]
    if let taken = state.taken { table.rollBackClaim(taken.lease) }
    workers[worker].slots[slot].taken = nil
    table.unlock(state.held!)
    for task in table.leases.first(where: { $0.id == state.held })?.tasks ?? [] {
      if fault(4) { return pending.append(.fail(worker, slot: slot)) }
      table.completeOne(state.held!, task)
    }
    workers[worker].slots[slot].held = nil
    pending.append(.fail(worker, slot: slot))
  }

  private mutating func answer(_ worker: Int, _ slot: Int) {
    var state = workers[worker].slots[slot]
    if state.completed { state.held = nil }
    guard let claim = state.claim else {
      workers[worker].slots[slot] = state
      return pending.append(.begin(worker, slot: slot))
    }
    let found = state.taken == nil ? 0 : state.takenCount
    if !state.isAnnounced, found == 0 {
      workers[worker].slots[slot] = state
      return pending.append(.fail(worker, slot: slot))
    }
    let fromStart = claim.fromStart || state.floor == 0
    if let taken = state.taken {
      state.held = taken.lease
      state.floor = taken.firstSeq
      state.tasks += found
      state.rests = 0
    }
    state.claim = nil
    workers[worker].slots[slot] = state
    let step = workers[worker].gates[state.group].claimCameBack(
      claim, found: found, isFull: found == Self.batch[state.group], isAnnounced: state.isAnnounced,
      fromStart: fromStart, tasks: state.tasks, rests: state.rests)
    obey(step, worker, slot)
  }
}
