import Basics

@testable import TaskQueue

/// Clients that submit alone, in crowds and in floods to one process, whose batches come back when the seed says so.
/// What it finds wrong with the policy it returns as a sentence.
struct BatchStory {
  private var random: SeededRandom
  private var policy = BatchPolicy()
  private var now = MonotonicTime(nanoseconds: 1_000_000_000)
  private var waiting = 0
  private var underWay: [Int] = []
  private var submitted = 0
  private var finished = 0
  private var problem: String?
  private let isTold: Bool

  static func run(seed: UInt64, isTold: Bool) -> String? {
    var story = BatchStory(seed, isTold)
    let kind = [0, 0, 0, 1, 1, 1, 1, 2][story.below(8)]
    for _ in 0..<40 where story.problem == nil { story.turn(kind) }
    for _ in 0..<200 where story.problem == nil && story.finished < story.submitted { story.turn(3) }
    if story.problem == nil, story.finished < story.submitted {
      return "\(story.submitted - story.finished) submissions never leave"
    }
    return story.problem
  }

  private init(_ seed: UInt64, _ isTold: Bool) {
    random = SeededRandom(seed: seed)
    self.isTold = isTold
  }

  private mutating func below(_ bound: Int) -> Int { Int(random.next() % UInt64(bound)) }

  /// A moment passes in which clients come or a batch comes back.
  private mutating func turn(_ kind: Int) {
    now = now + .milliseconds(UInt64(below(3)))
    if kind < 3, below(2) == 0 {
      let count = below([3, 40, 1500][kind]) + 1
      waiting += count
      submitted += count
    } else if !underWay.isEmpty, below(2) == 0 {
      let rows = underWay.remove(at: below(underWay.count))
      finished += rows
      policy.cameBack(rows: rows, waiting: waiting, at: now)
    }
    if isTold { print("\(now.nanoseconds / 1_000_000) ms: \(waiting) wait, \(underWay) under way") }
    askPolicy()
  }

  private mutating func askPolicy() {
    while true {
      switch policy.decision(waiting: waiting, at: now) {
      case .send:
        let rows = BatchPolicy.batchSize(of: repeatElement(100, count: waiting))
        if rows == 0 { problem = "an empty batch leaves" }
        if underWay.count >= Limits.batchesInFlight { problem = "a third batch leaves" }
        if !underWay.isEmpty, waiting < Limits.secondBatchRowsMin { problem = "a second batch of \(waiting) leaves" }
        policy.sent()
        underWay.append(rows)
        waiting -= rows
        if problem != nil { return }
      case .hold(let until):
        if until <= now || until.since(now) > Limits.holdMax { problem = "held from \(now) until \(until)" }
        if !underWay.isEmpty { problem = "held although a batch is under way" }
        // Nothing else may happen until then.
        if below(3) == 0 { now = until } else { return }
      case .wait:
        if waiting > 0, underWay.isEmpty { problem = "\(waiting) submissions wait for nothing" }
        return
      }
      if problem != nil { return }
    }
  }
}
