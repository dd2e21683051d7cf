import Tasks

/// I5 over a history: a free worker takes the most urgent first, and what is less urgent does not starve.
///
/// A worker's slot begins one look of sixteen with the least urgent and one with those between. Looks that find nothing
/// are not seen here and count as well, so twice as much is allowed. What was lost by another worker is claimed by
/// itself, and is left out.
struct OrderChecker {
  /// Where a look into a line starts is at most so old, in microseconds: what took longer to be committed than others
  /// behind it may be passed over until then.
  private static let blindness: Int64 = 1_500_000
  /// A commit has its time before it is on the disk and seen by others, which takes no longer than this.
  private static let flushing: Int64 = 250_000
  /// Looks until all priorities had their turn.
  private static let round = 16

  private struct Waiting {
    let priority: Int
    let seq: Int64
    let since: Int64
    /// When the claim began that took it; never if none did.
    let takenFrom: Int64
  }

  private struct Claim {
    let by: String
    let group: Int
    let began: Int64
    let at: Int64
    let priority: Int
  }

  /// Claims of one process in one group since there was nothing to claim.
  private struct Run {
    var inversions: [Bool] = []
    /// How many claims in a row have passed over waiting tasks of each priority.
    var passedOver = [Int](repeating: 0, count: 8)
  }

  private struct Key: Hashable {
    let by: String
    let group: Int
  }

  private var waiting: [Int: [Int64: Waiting]] = [:]
  private var lastTaken: [Int: Int64] = [:]
  private var runs: [Key: Run] = [:]
  private var violations: [HistoryChecker.Violation] = []
  private let takenFrom: [Int64: Int64]

  static func violations(of history: History) -> [HistoryChecker.Violation] {
    var checker = OrderChecker(history)
    for commit in history.commits { checker.follow(commit) }
    return checker.violations
  }

  private init(_ history: History) {
    var takenFrom: [Int64: Int64] = [:]
    for commit in history.commits {
      for case .taken(_, _, let seq) in commit.changes { takenFrom[seq] = commit.began }
    }
    self.takenFrom = takenFrom
  }

  /// The group of slots that a lane's tasks are run by, and how many slots of it a worker has.
  private static func slots(ofLane lane: Int) -> (group: Int, width: Int) {
    let line = TaskKind.all.lazy.flatMap(\.lines).first { $0.number == lane / 8 }
    return line.map { (Int($0.slots.group), $0.slots.slots ?? 1) } ?? (-1, 1)
  }

  private mutating func follow(_ commit: History.Commit) {
    let lanes = commit.changes.compactMap { if case .taken(_, let lane, _) = $0 { lane } else { nil } }
    let isClaim = commit.changes.contains { if case .leased = $0 { true } else { false } }
    if isClaim, let lane = lanes.first, !lanes.contains(where: { $0 % 8 == 7 }) {
      let group = OrderChecker.slots(ofLane: lane)
      let priority = lanes.map { $0 % 8 }.min() ?? 0
      let claim = Claim(
        by: commit.by, group: group.group, began: commit.began, at: commit.at, priority: priority)
      judge(claim, taking: Set(lanes.map { $0 % 8 }), width: group.width)
    }
    var emptied: Set<Int> = []
    for change in commit.changes {
      switch change {
      case .placed(let id, let lane, let seq) where lane % 8 != 7:
        waiting[lane, default: [:]][id] = Waiting(
          priority: lane % 8, seq: seq, since: commit.at, takenFrom: takenFrom[seq] ?? .max)
      case .taken(let id, let lane, let seq):
        waiting[lane]?[id] = nil
        lastTaken[lane] = max(lastTaken[lane] ?? 0, seq)
        emptied.insert(OrderChecker.slots(ofLane: lane).group)
      default: break
      }
    }
    for group in emptied where isEmpty(group) { runs = runs.filter { $0.key.group != group } }
  }

  private func isEmpty(_ group: Int) -> Bool {
    waiting.allSatisfy { OrderChecker.slots(ofLane: $0.key).group != group || $0.value.isEmpty }
  }

  /// The priorities of which there was something that `claim` could have taken and nobody else was taking.
  private func passedOver(by claim: Claim) -> Set<Int> {
    var passed: Set<Int> = []
    for (lane, tasks) in waiting where OrderChecker.slots(ofLane: lane).group == claim.group {
      let floor = lastTaken[lane] ?? 0
      let isSeen = tasks.values.contains { task in
        task.takenFrom > claim.at && task.since < claim.began - OrderChecker.flushing
          && (task.seq > floor || task.since < claim.began - OrderChecker.blindness)
      }
      if isSeen { passed.insert(lane % 8) }
    }
    return passed
  }

  private mutating func judge(_ claim: Claim, taking taken: Set<Int>, width: Int) {
    let key = Key(by: claim.by, group: claim.group)
    let passed = passedOver(by: claim).subtracting(taken)
    let window = OrderChecker.round * width
    var run = runs[key] ?? Run()
    run.inversions.append(passed.contains { $0 < claim.priority })
    let inversions = run.inversions.suffix(window).filter { $0 }.count
    if inversions > 4 * width {
      breaks("\(claim.by) took what is less urgent first, in \(inversions) of \(window) claims")
      run.inversions.removeAll()
    }
    for priority in 0..<7 {
      run.passedOver[priority] = passed.contains(priority) ? run.passedOver[priority] + 1 : 0
      if run.passedOver[priority] > 2 * window {
        breaks("\(claim.by) passed over tasks of priority \(priority) in \(run.passedOver[priority]) claims")
        run.passedOver[priority] = 0
      }
    }
    runs[key] = run
  }

  private mutating func breaks(_ what: String) {
    violations.append(HistoryChecker.Violation(promise: "I5", what: what))
  }
}
