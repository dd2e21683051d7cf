import Basics

/// Makes up histories as a queue that keeps its promises would leave them: workers claim, complete, fail, are lost and
/// come back too late, and clients ask and look, all as a seed says.
struct StoryTeller {
  private struct Lease {
    let number: Int64
    let worker: String
    var tasks: [Int64]
  }

  private var random: SeededRandom
  private(set) var history = History()
  private var now: Int64 = 1_000_000
  private var tick = 0
  private var nextId: Int64 = 0
  private var nextLease: Int64 = 0
  private var rows: [Int64: History.Row] = [:]
  private var names: [Int64: String] = [:]
  private var homes: [Int64: Int] = [:]
  /// Places in line by lane, oldest first.
  private var line: [Int: [(seq: Int64, task: Int64)]] = [:]
  private var putOff: [Int64] = []
  private var leases: [Lease] = []
  private var looks: [String: Int] = [:]
  private let workers: [String]

  /// The history of `seed` with `count` tasks.
  static func story(seed: UInt64, tasks count: Int) -> History {
    var teller = StoryTeller(seed: seed)
    while teller.nextId < count || !teller.isOver { teller.step(mayAsk: teller.names.count < count) }
    return teller.history
  }

  private init(seed: UInt64) {
    random = SeededRandom(seed: seed)
    workers = (1...Int.random(in: 2...4, using: &random)).map { "worker-\($0)" }
  }

  private var isOver: Bool { leases.isEmpty && putOff.isEmpty && line.values.allSatisfy(\.isEmpty) }

  private mutating func chance(_ share: Double) -> Bool { Double.random(in: 0..<1, using: &random) < share }

  private mutating func commit(_ by: String, _ changes: [History.Change]) {
    let began = now
    now += Int64.random(in: 100...20_000, using: &random)
    history.commits.append(History.Commit(by: by, began: began, at: now, changes: changes))
    now += 1
  }

  private mutating func step(mayAsk: Bool) {
    switch Int.random(in: 0..<12, using: &random) {
    case 0..<3 where mayAsk || nextId == 0: submit()
    case 3..<6: claim(workers.randomElement(using: &random)!)
    case 6..<9: complete()
    case 9: chance(0.3) ? loseWorker() : promote()
    case 10 where chance(0.1): cancel()
    default: look()
    }
  }

  private mutating func place(_ task: Int64, _ lane: Int, seq: Int64? = nil) -> History.Change {
    if seq == nil { nextId += 1 }
    let seq = seq ?? nextId
    line[lane, default: []].append((seq, task))
    return .placed(task: task, lane: lane, seq: seq)
  }

  private mutating func submit() {
    nextId += 1
    let (id, name) = (nextId, "task-\(nextId)")
    let lane = [0, 1, 2, 24, 25, 26].randomElement(using: &random)!
    if chance(0.1) { history.submissions.append(History.Submission(name: name, answer: .refused)) }
    (rows[id], names[id], homes[id]) = (History.Row(), name, lane)
    commit("api", [.inserted(task: id, name: name), place(id, lane, seq: id)])
    if chance(0.1) { history.submissions.append(History.Submission(name: name, answer: .unknown)) }
    history.submissions.append(History.Submission(name: name, answer: .acknowledged(task: id)))
  }

  /// As slots do: one look of sixteen begins with the least urgent, and one with those between.
  private mutating func claim(_ worker: String) {
    let turn = looks[worker, default: 0] % 16
    looks[worker, default: 0] += 1
    let order = [7] + (turn == 15 ? [2, 0, 1] : turn == 7 ? [1, 0, 2] : [0, 1, 2])
    var (tasks, changes) = ([Int64](), [History.Change]())
    let most = Int.random(in: 1...6, using: &random)
    for priority in order {
      for lane in [priority, 24 + priority] {
        while tasks.count < most, let first = line[lane]?.first {
          line[lane]?.removeFirst()
          tasks.append(first.task)
          changes.append(.taken(task: first.task, lane: lane, seq: first.seq))
          if priority == 7 { break }
        }
      }
      if priority == 7, !tasks.isEmpty { break }
    }
    if tasks.isEmpty { return }
    nextLease += 1
    leases.append(Lease(number: nextLease, worker: worker, tasks: tasks))
    commit(worker, changes + [.leased(lease: nextLease, tasks: tasks)])
  }

  private mutating func update(_ task: Int64, _ change: (inout History.Row) -> Void) -> History.Change {
    let former = rows[task]!
    change(&rows[task]!)
    return .updated(task: task, from: former, to: rows[task]!)
  }

  private mutating func complete() {
    guard let index = leases.indices.randomElement(using: &random) else { return }
    let lease = leases.remove(at: index)
    var changes: [History.Change] = [.ended(lease: lease.number)]
    for task in lease.tasks where rows[task]!.state == .queued {
      if chance(0.1), rows[task]!.attempt < 2 {
        putOff.append(task)
        changes.append(.postponed(task: task))
        changes.append(update(task) { ($0.attempt, $0.outcome) = ($0.attempt + 1, "later") })
      } else {
        let state = chance(0.05) ? History.State.failed : .completed
        changes.append(update(task) { $0 = History.Row(state: state, attempt: $0.attempt + 1, outcome: "of \(task)") })
      }
    }
    commit(lease.worker, changes)
  }

  /// Another takes over; what the lost one brings later changes nothing.
  private mutating func loseWorker() {
    guard let lost = leases.randomElement(using: &random) else { return }
    let gone = leases.filter { $0.worker == lost.worker }
    leases.removeAll { $0.worker == lost.worker }
    var changes: [History.Change] = []
    for lease in gone {
      changes.append(.ended(lease: lease.number))
      for task in lease.tasks where rows[task]!.state == .queued {
        changes.append(update(task) { ($0.attempt, $0.outcome) = ($0.attempt + 1, "lost") })
        changes.append(place(task, homes[task]! / 8 * 8 + 7))
      }
    }
    commit(workers.first { $0 != lost.worker }!, changes)
    commit(lost.worker, [])
  }

  private mutating func promote() {
    if putOff.isEmpty { return }
    let task = putOff.removeFirst()
    commit("worker-1", [.recalled(task: task), place(task, homes[task]!)])
  }

  private mutating func cancel() {
    for (lane, places) in line.sorted(by: { $0.key < $1.key }) {
      guard let place = places.last, lane % 8 != 7 else { continue }
      line[lane]?.removeLast()
      let taken = History.Change.taken(task: place.task, lane: lane, seq: place.seq)
      return commit("api", [update(place.task) { $0.state = .cancelled }, taken])
    }
  }

  private mutating func look() {
    guard let task = names.keys.sorted().randomElement(using: &random), let row = rows[task] else { return }
    let isHeld = leases.contains { $0.tasks.contains(task) }
    let status =
      switch row.state {
      case .queued: isHeld ? "running" : "queued"
      case .completed: "completed"
      case .failed: "failed"
      case .cancelled: "cancelled"
      }
    let isRunning = status == "running"
    let sight = History.Look.Sight(
      status: status, attempts: row.attempt + (isRunning ? 1 : 0), outcome: row.outcome)
    history.looks.append(History.Look(task: task, began: tick, ended: tick + 1, sight: sight))
    tick += 2
  }
}
