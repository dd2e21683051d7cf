/// Says what of a history breaks a promise: no I/O, no clock.
///
/// It goes through the commits in their order and knows after each where every task stands: in the line, put off, or in
/// a lease. Whatever ends an attempt has to take the task out of the lease that it stands in, in the same transaction,
/// and whoever brings a result has to be the one to whom it was leased. That is stricter than to count what came out at
/// the end: also an effect that is repeated and changes nothing is one too many.
struct HistoryChecker {
  /// What must not have been.
  struct Violation: Equatable, CustomStringConvertible {
    /// The promise, `I1` to `I5`; `record` if the history itself cannot be.
    let promise: String
    let what: String
    var description: String { "\(promise): \(what)" }
  }

  private struct Known {
    let name: String
    var row = History.Row()
    var completions = 0
    /// Where it stands, and whether anywhere else.
    var inLine = 0
    var putOff = 0
    var leases: Set<Int64> = []
    var places: Int { inLine + putOff + leases.count }
  }

  private struct Lease {
    let by: String
    var tasks: Set<Int64>
  }

  private let history: History
  private var tasks: [Int64: Known] = [:]
  private var leases: [Int64: Lease] = [:]
  private var byName: [String: Int64] = [:]
  private(set) var violations: [Violation] = []

  /// The violations of `history`, which ended with the queue at rest if it `isOver`.
  static func violations(of history: History, isOver: Bool = true) -> [Violation] {
    var checker = HistoryChecker(history)
    for commit in history.commits { checker.follow(commit) }
    checker.checkSubmissions(isOver)
    checker.checkLooks()
    if isOver { checker.checkRest() }
    return checker.violations + OrderChecker.violations(of: history)
  }

  private init(_ history: History) {
    self.history = history
  }

  private mutating func breaks(_ promise: String, _ what: String) {
    violations.append(Violation(promise: promise, what: what))
  }

  // MARK: Commits

  private mutating func follow(_ commit: History.Commit) {
    var touched: Set<Int64> = []
    // Out of which lease a task was taken, and to whom that was given.
    var released: [Int64: String] = [:]
    var taken: Set<Int64> = []
    // One statement may do several things, and in which order is its own affair.
    for case .inserted(let id, let name) in commit.changes { insert(id, name) }
    for change in commit.changes {
      switch change {
      case .removed(let id): tasks[id] = nil
      case .inserted, .updated: break
      case .placed(let id, _, _): tasks[id]?.inLine += 1
      case .taken(let id, _, _):
        tasks[id]?.inLine -= 1
        taken.insert(id)
      case .postponed(let id): tasks[id]?.putOff += 1
      case .recalled(let id): tasks[id]?.putOff -= 1
      case .leased: break
      case .cut(let lease, let left): release(lease, keeping: Set(left), into: &released)
      case .ended(let lease): release(lease, keeping: [], into: &released)
      }
      touched.formUnion(change.tasks)
    }
    touched.formUnion(released.keys)
    for case .leased(let lease, let ids) in commit.changes { claim(lease, ids, taken, by: commit.by) }
    for (id, step) in HistoryChecker.netUpdates(commit.changes) {
      update(id, from: step.from, to: step.to, released[id], by: commit.by)
    }
    for id in touched.sorted() { checkPlace(id) }
  }

  private mutating func insert(_ id: Int64, _ name: String) {
    if tasks[id] != nil { breaks("record", "task \(id) was inserted twice") }
    if let other = byName[name] { breaks("I3", "\(name) was queued as task \(other) and again as \(id)") }
    byName[name] = id
    tasks[id] = Known(name: name)
  }

  private mutating func release(_ lease: Int64, keeping left: Set<Int64>, into released: inout [Int64: String]) {
    guard let known = leases[lease] else { return breaks("record", "lease \(lease) ended and had not begun") }
    for id in known.tasks.subtracting(left) {
      released[id] = known.by
      tasks[id]?.leases.remove(lease)
    }
    leases[lease]?.tasks.formIntersection(left)
    if left.isEmpty { leases[lease] = nil }
  }

  private mutating func claim(_ lease: Int64, _ ids: [Int64], _ taken: Set<Int64>, by: String) {
    leases[lease] = Lease(by: by, tasks: Set(ids))
    for id in ids {
      if !taken.contains(id) { breaks("I3", "\(by) claimed task \(id), which did not stand in line") }
      if let held = tasks[id]?.leases.first { breaks("I3", "task \(id) is in the leases \(held) and \(lease)") }
      tasks[id]?.leases.insert(lease)
    }
  }

  /// What a transaction made of each task, however many statements it took.
  private static func netUpdates(_ changes: [History.Change]) -> [(Int64, (from: History.Row, to: History.Row))] {
    var steps: [Int64: (from: History.Row, to: History.Row)] = [:]
    var order: [Int64] = []
    for case .updated(let id, let from, let to) in changes {
      if steps[id] == nil { order.append(id) }
      steps[id] = (steps[id]?.from ?? from, to)
    }
    return order.map { ($0, steps[$0]!) }
  }

  private mutating func update(
    _ id: Int64, from: History.Row, to: History.Row, _ holder: String?, by: String
  ) {
    guard let known = tasks[id] else { return breaks("record", "task \(id) was changed and is not known") }
    if known.row != from { breaks("record", "task \(id) was \(known.row), and then changed from \(from)") }
    tasks[id]?.row = to
    if from.state.isTerminal {
      if to.state == .completed, from.state == .completed {
        breaks("I3", "task \(id) was completed twice, now by \(by)")
      }
      if from != to { breaks("I2", "task \(id) was over as \(from), and \(by) made it \(to)") }
      return
    }
    if to.attempt < from.attempt { breaks("I2", "task \(id) lost attempts: \(from.attempt), then \(to.attempt)") }
    switch to.state {
    case .cancelled: return
    case .completed:
      tasks[id]?.completions += 1
      if known.completions > 0 { breaks("I3", "task \(id) was completed \(known.completions + 1) times") }
      if holder == nil {
        breaks("I4", "\(by) completed task \(id) without a lease")
      } else if holder != by {
        breaks("I4", "\(by) completed task \(id), which \(holder!) had leased")
      }
    case .failed, .queued:
      if holder == nil, from != to { breaks("I4", "\(by) ended an attempt of task \(id) without a lease") }
    }
  }

  private mutating func checkPlace(_ id: Int64) {
    guard let known = tasks[id], known.row.state != .cancelled else { return }
    if known.row.state == .queued {
      if known.places == 0 { breaks("I1", "task \(id) stands nowhere") }
      if known.places > 1 { breaks("I3", "task \(id) stands in \(known.places) places") }
    } else if known.places > 0 {
      breaks("I3", "task \(id) is over and can be run again")
    }
  }

  // MARK: Clients

  private mutating func checkSubmissions(_ isOver: Bool) {
    var told: [String: Int64] = [:]
    for submission in history.submissions {
      let name = submission.name
      switch submission.answer {
      case .refused, .unknown: continue
      case .done(let result):
        guard let id = byName[name], let known = tasks[id] else {
          breaks("I1", "\(name) was said to be done, and there is no such task")
          continue
        }
        if known.row.outcome != result { breaks("I2", "the result of \(name) was told as \(result)") }
      case .acknowledged(let id):
        if let other = told[name], other != id { breaks("I3", "\(name) was acknowledged as \(other) and as \(id)") }
        told[name] = id
        guard let known = tasks[id] else {
          breaks("I1", "task \(id) was acknowledged and is not there")
          continue
        }
        if known.name != name { breaks("I3", "\(name) was acknowledged as \(id), which is \(known.name)") }
        if isOver, !known.row.state.isTerminal { breaks("I1", "task \(id) was acknowledged and is never over") }
      }
    }
    if history.submissions.isEmpty { return }
    for name in Set(byName.keys).subtracting(history.submissions.map(\.name)).sorted() {
      breaks("I3", "nobody has asked for \(name)")
    }
  }

  /// No look goes back behind one that had ended before it began, and what is over looks as it is in the end.
  private mutating func checkLooks() {
    for (id, looks) in Dictionary(grouping: history.looks, by: \.task).sorted(by: { $0.key < $1.key }) {
      let begun = looks.sorted { $0.began < $1.began }
      var over = looks.sorted { $0.ended < $1.ended }[...]
      var last: (terminal: History.Look.Sight?, attempts: Int) = (nil, 0)
      for look in begun {
        while let former = over.first, former.ended < look.began {
          over = over.dropFirst()
          guard let sight = former.sight else { continue }
          last.attempts = max(last.attempts, sight.attemptsOver)
          if sight.state.isTerminal { last.terminal = sight }
        }
        guard let sight = look.sight else {
          breaks("I1", "task \(id) was looked for and not found")
          continue
        }
        if let terminal = last.terminal, terminal != sight {
          breaks("I2", "task \(id) was seen as \(terminal), and later as \(sight)")
        }
        if sight.attemptsOver < last.attempts {
          breaks("I2", "task \(id) was seen after \(last.attempts) attempts, and later after \(sight.attemptsOver)")
        }
        if sight.state.isTerminal, let row = tasks[id]?.row {
          if row != History.Row(state: sight.state, attempt: sight.attempts, outcome: sight.outcome) {
            breaks("I2", "task \(id) was seen as \(sight), and is \(row)")
          }
        }
      }
    }
  }

  /// Nothing is left of what is over.
  private mutating func checkRest() {
    for (id, known) in tasks.sorted(by: { $0.key < $1.key }) where !known.row.state.isTerminal {
      breaks("I1", "task \(id) is never over")
    }
    for (lease, known) in leases.sorted(by: { $0.key < $1.key }) {
      breaks("I1", "lease \(lease) of \(known.by) is left over")
    }
  }
}

extension History.Change {
  /// The tasks that it is about.
  var tasks: [Int64] {
    switch self {
    case .inserted(let id, _), .updated(let id, _, _), .removed(let id), .placed(let id, _, _), .taken(let id, _, _),
      .postponed(let id), .recalled(let id):
      [id]
    case .leased(_, let ids): ids
    case .cut, .ended: []
    }
  }
}
