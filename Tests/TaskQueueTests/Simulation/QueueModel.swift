@testable import TaskQueue

/// The queue's tables as far as waking and fencing depend on them: rows become visible when they are committed, claims
/// lock what they take until they are committed or rolled back, and notifications lie in a box until they are read.
struct QueueModel {
  enum TaskState { case unknown, ready, leased, scheduled, done }

  /// A row of the line: tasks that were submitted together.
  struct Ready {
    let group: Int
    var places: [(seq: Int, task: Int)]
    var isLocked = false

    var seq: Int { places[0].seq }
    func holds(_ tasks: [Int]) -> Bool { places.contains { tasks.contains($0.task) } }
  }

  struct Lease {
    let id: Int
    let owner: Int
    var tasks: [Int]
    var isLocked = false
    var isCommitted = false
  }

  struct IdleRow {
    let owner: Int
    let group: Int
    let number: Int
  }

  struct Note {
    let group: Int
    let tasks: Int
    let row: Int
  }

  var states: [TaskState] = []
  var groups: [Int] = []
  var completions: [Int] = []
  var ready: [Ready] = []
  var leases: [Lease] = []
  var idle: [IdleRow] = []
  /// By session: one a worker process that lives, or whose death nobody has found yet.
  var boxes: [[Note?]] = []
  /// Whether the session's lock is held, and whether it listens.
  var isReachable: [Bool] = []
  var hears: [Bool] = []
  private var lastSeq = 0
  private var lastLease = 0

  mutating func nextSeq() -> Int {
    lastSeq += 1
    return lastSeq
  }

  mutating func addTask(group: Int) -> Int {
    states.append(.unknown)
    groups.append(group)
    completions.append(0)
    return states.count - 1
  }

  mutating func addSession() -> Int {
    boxes.append([])
    isReachable.append(false)
    hears.append(false)
    return boxes.count - 1
  }

  mutating func makeReady(_ task: Int, seq: Int) { makeReady([(seq, task)]) }

  mutating func makeReady(_ places: [(seq: Int, task: Int)]) {
    for place in places { states[place.task] = .ready }
    ready.append(Ready(group: groups[places[0].task], places: places))
  }

  /// What a submitter does after its commit, and whoever passes a word on: up to `workers` idle rows go, and their
  /// owners are told. A session whose lock is free is passed over.
  mutating func notify(group: Int, tasks: Int, workers: Int) {
    var left = workers
    var index = 0
    while index < idle.count, left > 0 {
      let row = idle[index]
      guard row.group == group, isReachable[row.owner] else {
        index += 1
        continue
      }
      idle.remove(at: index)
      tell(row.owner, Note(group: group, tasks: tasks, row: row.number))
      left -= 1
    }
  }

  mutating func announce(_ owner: Int, _ group: Int, _ rows: WakeProtocol.Rows) {
    idle.removeAll { $0.owner == owner && $0.group == group && $0.number > rows.above && $0.number < rows.upTo }
    if !idle.contains(where: { $0.owner == owner && $0.group == group && $0.number > rows.upTo }) {
      idle.append(IdleRow(owner: owner, group: group, number: rows.upTo))
    }
  }

  mutating func withdraw(_ owner: Int, _ group: Int, _ rows: WakeProtocol.Rows) {
    idle.removeAll { $0.owner == owner && $0.group == group && $0.number > rows.above && $0.number <= rows.upTo }
  }

  /// Locks the oldest rows of `group` from `floor` on that nobody else has locked, and takes tasks out of them; returns
  /// the new lease, not yet committed, nil if there was none.
  mutating func claim(_ owner: Int, _ group: Int, floor: Int, atMost count: Int) -> (lease: Int, firstSeq: Int)? {
    var picked: [(seq: Int, task: Int)] = []
    while picked.count < count {
      var best = -1
      for index in ready.indices where ready[index].group == group && !ready[index].isLocked {
        if ready[index].seq >= floor, best < 0 || ready[index].seq < ready[best].seq { best = index }
      }
      if best < 0 { break }
      ready[best].isLocked = true
      picked += ready[best].places.prefix(count - picked.count)
    }
    guard let first = picked.first else { return nil }
    lastLease += 1
    leases.append(Lease(id: lastLease, owner: owner, tasks: picked.map(\.task)))
    return (lastLease, first.seq)
  }

  /// What a cancellation of one task does to the others of its row, the `which`-th of those that nobody else has: until
  /// its commit they are passed over. Returns them, nil if there are none.
  mutating func lockRow(_ which: Int) -> [Int]? {
    let rows = ready.indices.filter { !ready[$0].isLocked && ready[$0].places.count > 1 }
    guard !rows.isEmpty else { return nil }
    let index = rows[which % rows.count]
    ready[index].isLocked = true
    return ready[index].places.map(\.task)
  }

  mutating func unlockRow(_ tasks: [Int]) {
    for index in ready.indices where ready[index].holds(tasks) { ready[index].isLocked = false }
  }

  mutating func commitClaim(_ lease: Int) {
    guard let index = leases.firstIndex(where: { $0.id == lease }) else { return }
    leases[index].isCommitted = true
    let tasks = leases[index].tasks
    for task in tasks { states[task] = .leased }
    for index in ready.indices where ready[index].holds(tasks) {
      ready[index].places.removeAll { tasks.contains($0.task) }
      ready[index].isLocked = false
    }
    ready.removeAll(where: \.places.isEmpty)
  }

  mutating func rollBackClaim(_ lease: Int) {
    guard let index = leases.firstIndex(where: { $0.id == lease }) else { return }
    let tasks = leases.remove(at: index).tasks
    for index in ready.indices where ready[index].holds(tasks) { ready[index].isLocked = false }
  }

  /// Ends the lease `id` with the outcomes of its tasks; true for those that were accepted.
  mutating func complete(_ id: Int, retrying: Int?) -> Bool {
    guard let index = leases.firstIndex(where: { $0.id == id && $0.isCommitted }) else { return false }
    for task in leases[index].tasks {
      if task == retrying {
        states[task] = .scheduled
      } else {
        states[task] = .done
        completions[task] += 1
      }
    }
    leases.remove(at: index)
    return true
  }

  /// Completes one task of the lease `id`, which goes on with the others.
  mutating func completeOne(_ id: Int, _ task: Int) {
    guard let index = leases.firstIndex(where: { $0.id == id && $0.isCommitted }) else { return }
    guard let place = leases[index].tasks.firstIndex(of: task) else { return }
    leases[index].tasks.remove(at: place)
    states[task] = .done
    completions[task] += 1
    if leases[index].tasks.isEmpty { leases.remove(at: index) }
  }

  /// Takes the leases of `owner` away, those that a completion holds at this moment and those in `known` excepted;
  /// returns the groups of the tasks that are ready again.
  mutating func takeLeases(of owner: Int, except known: [Int] = []) -> [Int] {
    var freed: [Int] = []
    for lease in leases where lease.owner == owner && lease.isCommitted && !lease.isLocked && !known.contains(lease.id)
    {
      for task in lease.tasks {
        freed.append(groups[task])
        makeReady(task, seq: nextSeq())
      }
    }
    leases.removeAll { $0.owner == owner && $0.isCommitted && !$0.isLocked && !known.contains($0.id) }
    return freed
  }

  mutating func lock(_ lease: Int) { setLock(lease, true) }
  mutating func unlock(_ lease: Int) { setLock(lease, false) }

  private mutating func setLock(_ lease: Int, _ isLocked: Bool) {
    if let index = leases.firstIndex(where: { $0.id == lease }) { leases[index].isLocked = isLocked }
  }

  /// Gives the tasks of a lease back; false if it is somebody else's by now.
  mutating func release(_ lease: Int) -> Bool {
    guard let index = leases.firstIndex(where: { $0.id == lease }) else { return false }
    for task in leases.remove(at: index).tasks { makeReady(task, seq: nextSeq()) }
    return true
  }

  /// The session of `owner` is gone: its lock is free, and what lies in its box is lost.
  mutating func lose(_ owner: Int) {
    isReachable[owner] = false
    hears[owner] = false
    boxes[owner].removeAll()
  }

  mutating func listens(_ owner: Int) { hears[owner] = true }

  /// Puts a message into the box of `owner`; true if it will be delivered.
  @discardableResult
  mutating func tell(_ owner: Int, _ note: Note?) -> Bool {
    guard hears[owner] else { return false }
    boxes[owner].append(note)
    return true
  }
}
