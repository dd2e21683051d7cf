import Basics
import Testing

/// The checker itself: it has nothing to say of a queue that keeps its promises, and finds each fault that is planted.
@Suite(.timeLimit(.minutes(5))) struct HistoryCheckerTests {
  private static let seeds = chosenSeed.map { $0..<$0 + 1 } ?? 1..<61

  @Test func `of histories in which every promise is kept it has nothing to say`() {
    for seed in Self.seeds {
      let history = StoryTeller.story(seed: seed, tasks: 60)
      #expect(history.commits.count > 60)
      let violations = HistoryChecker.violations(of: history)
      #expect(violations.isEmpty, "seed \(seed): \(violations)")
    }
  }

  @Test(arguments: PlantedFault.all) func `a planted fault is found`(_ fault: PlantedFault) {
    var planted = 0
    for seed in Self.seeds {
      var history = StoryTeller.story(seed: seed, tasks: 60)
      var random = SeededRandom(seed: seed)
      guard fault.plant(&history, &random) else { continue }
      planted += 1
      let violations = HistoryChecker.violations(of: history)
      #expect(violations.contains { $0.promise == fault.promise }, "seed \(seed): \(violations)")
      if !violations.contains(where: { $0.promise == fault.promise }) { return }
    }
    #expect(planted > Self.seeds.count / 2)
  }

  /// A line of one kind: a task of priority `passed` is there all the time, while claims take others.
  private func line(waiting passed: Int, taking priorities: [Int], committed: Int64 = 1000) -> History {
    var history = History()
    var id: Int64 = 1
    func task(_ priority: Int, at: Int64, seq: Int64? = nil) {
      history.commits.append(
        History.Commit(
          by: "api", began: at, at: at,
          changes: [.inserted(task: id, name: "\(id)"), .placed(task: id, lane: priority, seq: seq ?? id)]))
      id += 1
    }
    task(passed, at: committed, seq: 1_000_000)
    for (index, priority) in priorities.enumerated() {
      let at = 400_000 + Int64(index) * 100
      task(priority, at: at)
      let change = History.Change.taken(task: id - 1, lane: priority, seq: id - 1)
      history.commits.append(
        History.Commit(
          by: "w", began: at + 10, at: at + 20,
          changes: [change, .leased(lease: id, tasks: [id - 1])]))
    }
    return history
  }

  private func orderFaults(_ history: History) -> Int {
    HistoryChecker.violations(of: history, isOver: false).filter { $0.promise == "I5" }.count
  }

  @Test func `less urgent tasks that are taken first are found, unless it was their turn`() {
    #expect(orderFaults(line(waiting: 0, taking: Array(repeating: 2, count: 16))) > 0)
    let round = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2]
    #expect(orderFaults(line(waiting: 1, taking: round + round)) == 0)
    // Nobody could see the more urgent one yet.
    #expect(orderFaults(line(waiting: 0, taking: Array(repeating: 2, count: 16), committed: 1_000_000)) == 0)
  }

  @Test func `less urgent tasks that are never taken are found`() {
    #expect(orderFaults(line(waiting: 2, taking: Array(repeating: 0, count: 40))) > 0)
    #expect(orderFaults(line(waiting: 2, taking: Array(repeating: 0, count: 20))) == 0)
  }
}
