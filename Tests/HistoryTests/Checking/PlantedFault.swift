import Basics

/// A fault that is planted into a history without any, and the promise that it breaks.
struct PlantedFault: Sendable, CustomStringConvertible {
  let description: String
  let promise: String
  /// Plants it; false if the history has no place for it.
  let plant: @Sendable (inout History, inout SeededRandom) -> Bool

  init(
    _ promise: String, _ description: String,
    _ plant: @escaping @Sendable (inout History, inout SeededRandom) -> Bool
  ) {
    (self.promise, self.description, self.plant) = (promise, description, plant)
  }

  static let all = lost + changed + repeated + stale

  private static let lost = [
    PlantedFault("I1", "a task that was acknowledged is not there") { history, _ in
      history.submissions.append(History.Submission(name: "ghost", answer: .acknowledged(task: 1_000_000)))
      return true
    },
    PlantedFault("I1", "a task that was said to be done is not there") { history, _ in
      history.submissions.append(History.Submission(name: "ghost", answer: .done(result: "")))
      return true
    },
    PlantedFault("I1", "a lost worker's task is put back nowhere") { history, random in
      history.change(&random, where: { $0.contains { $0.ends } && $0.contains { $0.places } }) { changes in
        changes.removeAll { $0.places }
      }
    },
    PlantedFault("I1", "a completion is missing") { history, random in
      history.change(&random, where: { $0.contains { $0.completes } }) { $0 = [] }
    },
    PlantedFault("I1", "a client does not find its task") { history, _ in
      guard let look = history.looks.last else { return false }
      history.looks.append(History.Look(task: look.task, began: look.ended + 1, ended: look.ended + 2, sight: nil))
      return true
    },
  ]

  private static let changed = [
    PlantedFault("I2", "a result changes") { history, random in
      history.append(afterACompletion: &random) { id, row in
        var other = row
        other.outcome += "!"
        return [.updated(task: id, from: row, to: other)]
      }
    },
    PlantedFault("I2", "what was completed is queued again") { history, random in
      history.append(afterACompletion: &random) { id, row in
        [
          .updated(task: id, from: row, to: History.Row(attempt: row.attempt)),
          .placed(task: id, lane: 0, seq: 1_000_000),
        ]
      }
    },
    PlantedFault("I2", "a client sees a task that was over wait again") { history, _ in
      guard let look = history.looks.last(where: { $0.sight?.state.isTerminal == true }), var sight = look.sight else {
        return false
      }
      sight.status = "queued"
      history.looks.append(History.Look(task: look.task, began: look.ended + 1, ended: look.ended + 2, sight: sight))
      return true
    },
    PlantedFault("I2", "a client sees another result than there is") { history, _ in
      guard let index = history.looks.lastIndex(where: { $0.sight?.status == "completed" }) else { return false }
      history.looks[index].sight?.outcome += "!"
      return true
    },
    PlantedFault("I2", "a client sees fewer attempts than before") { history, _ in
      guard let look = history.looks.last(where: { ($0.sight?.attemptsOver ?? 0) > 0 }), var sight = look.sight else {
        return false
      }
      (sight.status, sight.attempts) = ("queued", 0)
      history.looks.append(History.Look(task: look.task, began: look.ended + 1, ended: look.ended + 2, sight: sight))
      return true
    },
  ]

  private static let repeated = [
    PlantedFault("I3", "a task is completed twice with the same result") { history, random in
      history.append(afterACompletion: &random) { id, row in [.updated(task: id, from: row, to: row)] }
    },
    PlantedFault("I3", "one name is queued twice") { history, random in
      history.append(afterACompletion: &random) { id, _ in [.inserted(task: id + 1_000_000, name: "task-\(id)")] }
    },
    PlantedFault("I3", "one name is acknowledged as two tasks") { history, _ in
      guard let (name, id) = history.acknowledged.last else { return false }
      let other = history.acknowledged.first { $0.id != id }?.id ?? id + 1
      history.submissions.append(History.Submission(name: name, answer: .acknowledged(task: other)))
      return true
    },
    PlantedFault("I3", "there is a task that nobody has asked for") { history, _ in
      guard let (name, _) = history.acknowledged.last else { return false }
      history.submissions.removeAll { $0.name == name }
      return true
    },
    PlantedFault("I3", "a task that is over stands in line") { history, random in
      history.append(afterACompletion: &random) { id, _ in [.placed(task: id, lane: 0, seq: 1_000_000)] }
    },
    PlantedFault("I3", "a task is leased to two") { history, random in
      history.follow(&random, where: { $0.claims }) { change, _ in
        guard case .leased(_, let ids) = change else { return [] }
        return [.leased(lease: 1_000_000, tasks: [ids[0]])]
      }
    },
  ]

  private static let stale = [
    PlantedFault("I4", "a worker that was taken for dead completes all the same") { history, random in
      history.follow(&random, where: { $0.loses }) { change, commits in
        guard case .updated(let id, _, let row) = change else { return [] }
        return [.updated(task: id, from: row, to: History.Row(state: .completed, attempt: row.attempt + 1))]
      }
    },
    PlantedFault("I4", "an attempt ends without a lease") { history, random in
      history.follow(&random, where: { $0.loses }) { change, commits in
        guard case .updated(let id, _, let row) = change else { return [] }
        return [.updated(task: id, from: row, to: History.Row(attempt: row.attempt + 1))]
      }
    },
    PlantedFault("I4", "another completes than has leased") { history, random in
      let fitting = history.commits.indices.filter { history.commits[$0].changes.contains { $0.completes } }
      guard let index = fitting.randomElement(using: &random) else { return false }
      history.commits[index].by = "a stranger"
      return true
    },
  ]
}

extension History {
  fileprivate var acknowledged: [(name: String, id: Int64)] {
    submissions.compactMap { if case .acknowledged(let id) = $0.answer { ($0.name, id) } else { nil } }
  }

  /// Changes one of the commits whose changes are as `isFit` says.
  fileprivate mutating func change(
    _ random: inout SeededRandom, where isFit: ([Change]) -> Bool, _ change: (inout [Change]) -> Void
  ) -> Bool {
    let fitting = commits.indices.filter { isFit(commits[$0].changes) }
    guard let index = fitting.randomElement(using: &random) else { return false }
    change(&commits[index].changes)
    return true
  }

  /// Lets a commit of `worker-9` follow one that has a change as `isFit` says.
  fileprivate mutating func follow(
    _ random: inout SeededRandom, where isFit: (Change) -> Bool, _ changes: (Change, [Commit]) -> [Change]
  ) -> Bool {
    let fitting = commits.indices.filter { commits[$0].changes.contains(where: isFit) }
    guard let index = fitting.randomElement(using: &random), let change = commits[index].changes.first(where: isFit)
    else { return false }
    let at = commits[index].at
    commits.insert(
      Commit(by: "worker-9", began: at, at: at, changes: changes(change, commits)), at: index + 1)
    return true
  }

  fileprivate mutating func append(
    afterACompletion random: inout SeededRandom, _ changes: (Int64, Row) -> [Change]
  ) -> Bool {
    follow(&random, where: { $0.completes }) { change, _ in
      if case .updated(let id, _, let row) = change { changes(id, row) } else { [] }
    }
  }
}

extension History.Change {
  fileprivate var completes: Bool { if case .updated(_, _, let row) = self { row.state == .completed } else { false } }
  fileprivate var loses: Bool { if case .updated(_, _, let row) = self { row.outcome == "lost" } else { false } }
  fileprivate var places: Bool { if case .placed = self { true } else { false } }
  fileprivate var ends: Bool { if case .ended = self { true } else { false } }
  fileprivate var claims: Bool { if case .leased = self { true } else { false } }
}
