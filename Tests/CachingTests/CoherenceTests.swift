import Basics
import Testing

@testable import Caching

/// A source, processes that keep copies of its values, and a place where they share them, driven by a seed: messages
/// are late, copies are put down late and in any order, feeds break, and processes stand still.
private struct World {
  struct Copy {
    var version: Int64
    var stamp: Int64
  }

  /// What comes over a process's feed, in order.
  enum Message {
    case changed(Int, Int64)
    case invalidated(Int, Int64)
    case allInvalidated(Int64)
    case proof(sentAt: Int, clock: Int64)
  }

  struct Process {
    var coherence: Coherence<Int>
    var memory: [Int: (copy: Copy, trueAt: Int)] = [:]
    var feed: [Message]?
    /// Loads on their way: when they were sent, and what they have read, if they have.
    var loads: [(key: Int, sentAt: Int, copy: Copy?)] = []
    var proof: Int?
  }

  static let step = TimeSpan.milliseconds(50)
  var random: SeededRandom
  var now = 100
  var next: Int64 = 1
  /// For each key the versions of its value, and when each was committed.
  var source: [[(version: Int64, at: Int)]]
  /// For each key when it was last ordered to be forgotten.
  var forgotten: [Int]
  var processes: [Process]
  var shared: [Int: Copy] = [:]
  var onTheirWay: [(key: Int, copy: Copy?)] = []
  var (answers, fromMemory, fromShared) = (0, 0, 0)
  var wrong: [String] = []

  init(seed: UInt64) {
    random = SeededRandom(seed: seed)
    source = .init(repeating: [(0, 0)], count: 6)
    forgotten = .init(repeating: 0, count: 6)
    processes = (0..<3).map { _ in Process(coherence: Coherence(memory: .seconds(4 as UInt64), boundsMax: 4)) }
  }

  static func time(_ step: Int) -> MonotonicTime {
    MonotonicTime(nanoseconds: UInt64(step) * World.step.nanoseconds)
  }

  /// The source's clock is another one than that of the processes.
  func clock(_ step: Int) -> Int64 { Int64(step) * 50_000 + 7_000_000 }

  private func chance(_ percent: Int, _ random: inout SeededRandom) -> Bool {
    Int.random(in: 0..<100, using: &random) < percent
  }

  mutating func turn(isLying: Bool) {
    now += 1
    if chance(12, &random) { change() }
    for index in onTheirWay.indices.reversed() where chance(20, &random) {
      let (key, copy) = onTheirWay.remove(at: index)
      shared[key] = copy
    }
    for index in processes.indices {
      // Some stand still for a while.
      if chance(30, &random) { continue }
      move(index, isLying: isLying)
      if chance(60, &random) { ask(index) }
    }
  }

  private mutating func change() {
    let key = Int.random(in: source.indices, using: &random)
    switch Int.random(in: 0..<10, using: &random) {
    case 0:
      forgotten[key] = now
      tell(.invalidated(key, clock(now)))
    case 1:
      for key in source.indices { forgotten[key] = now }
      tell(.allInvalidated(clock(now)))
    default:
      next += 1
      source[key].append((next, now))
      tell(.changed(key, next))
    }
  }

  private mutating func tell(_ message: Message) {
    for index in processes.indices { processes[index].feed?.append(message) }
  }

  private mutating func move(_ index: Int, isLying: Bool) {
    var process = processes[index]
    if process.feed == nil {
      if chance(20, &random) {
        process.feed = []
        process.memory.removeAll()
        process.loads.removeAll()
        process.coherence.began(at: World.time(now))
      }
    } else if chance(1, &random) {
      (process.feed, process.proof) = (nil, nil)
      process.coherence.ended()
    }
    while let message = process.feed?.first, chance(70, &random) {
      process.feed?.removeFirst()
      hear(message, &process, isLying: isLying)
    }
    if let sentAt = process.proof, chance(50, &random) {
      process.feed?.append(.proof(sentAt: sentAt, clock: clock(now)))
      process.proof = nil
    }
    for load in process.loads.indices.reversed() where chance(40, &random) {
      let (key, sentAt, copy) = process.loads[load]
      if let copy {
        process.loads.remove(at: load)
        answer(key, copy, sentAt: sentAt)
        process.memory[key] = (copy, sentAt)
        onTheirWay.append((key, copy))
      } else if let current = source[key].last {
        process.loads[load].copy = Copy(version: current.version, stamp: clock(now))
      }
    }
    processes[index] = process
  }

  private mutating func hear(_ message: Message, _ process: inout Process, isLying: Bool) {
    func forget(_ key: Int) {
      process.memory[key] = nil
      process.loads.removeAll { $0.key == key }
    }
    let time = World.time(now)
    switch message {
    case .changed(let key, let version):
      if !isLying { process.coherence.changed(key, to: version, at: time) }
      forget(key)
    case .invalidated(let key, let stamp):
      if !isLying { process.coherence.invalidated(key, since: stamp, at: time) }
      forget(key)
    case .allInvalidated(let stamp):
      process.coherence.invalidatedAll(since: stamp)
      process.memory.removeAll()
      process.loads.removeAll()
    case .proof(let sentAt, let clock): process.coherence.proved(at: World.time(sentAt), clock: clock)
    }
  }

  private mutating func ask(_ index: Int) {
    let (key, time) = (Int.random(in: source.indices, using: &random), World.time(now))
    if processes[index].feed?.contains(where: { if case .proof = $0 { true } else { false } }) == false,
      processes[index].proof == nil, processes[index].coherence.wantsProof(at: time)
    {
      processes[index].proof = now
    }
    let coherence = processes[index].coherence
    if let (copy, trueAt) = processes[index].memory[key], coherence.believes(since: World.time(trueAt), at: time) {
      fromMemory += 1
      answer(key, copy, sentAt: now)
    } else if coherence.believesShared(at: time), let copy = shared[key],
      coherence.believes(key, version: copy.version, stamp: copy.stamp, at: time)
    {
      fromShared += 1
      answer(key, copy, sentAt: now)
      // It is true of the time of the last proof.
      if chance(50, &random) { processes[index].memory[key] = (copy, now - 18) }
    } else {
      processes[index].loads.append((key, now, nil))
    }
  }

  /// Who asked at `sentAt` may be given what was true less than a second before that, or later.
  private mutating func answer(_ key: Int, _ copy: Copy, sentAt: Int) {
    answers += 1
    let least = source[key].last { $0.at <= sentAt - 19 }?.version ?? 0
    if copy.version < least { wrong.append("step \(now): key \(key) was \(copy.version) and not \(least)") }
    let since = forgotten[key]
    if since <= sentAt - 19, copy.stamp < clock(since) {
      wrong.append("step \(now): key \(key) is from before it was to be forgotten")
    }
  }
}

@Suite(.timeLimit(.minutes(5))) struct CoherenceTests {
  private static func at(_ ms: UInt64) -> MonotonicTime { MonotonicTime(nanoseconds: ms * 1_000_000) }

  @Test func nobodyIsAnsweredWithWhatWasChangedASecondAgoHoweverLateAllIs() {
    var (answers, fromMemory, fromShared) = (0, 0, 0)
    for seed in 0..<3000 as Range<UInt64> {
      var world = World(seed: seed)
      for _ in 0..<400 { world.turn(isLying: false) }
      #expect(world.wrong.isEmpty, "seed \(seed): \(world.wrong.prefix(3))")
      answers += world.answers
      fromMemory += world.fromMemory
      fromShared += world.fromShared
    }
    // It would be easy to believe nothing.
    #expect(fromMemory > answers / 10 && fromShared > answers / 100, "\(fromMemory), \(fromShared) of \(answers)")
  }

  @Test func theCheckFindsAProcessThatForgetsWhatItHasHeard() {
    let found = (0..<100 as Range<UInt64>).contains { seed in
      var world = World(seed: seed)
      for _ in 0..<400 { world.turn(isLying: true) }
      return !world.wrong.isEmpty
    }
    #expect(found)
  }

  @Test func aCopyIsBelievedFromTheSecondLookOnUnlessItsKeyHasChangedSince() {
    var coherence = Coherence<Int>(memory: .seconds(300 as UInt64))
    #expect(!coherence.isProven(at: Self.at(1)) && coherence.wantsProof(at: Self.at(1)))
    coherence.proved(at: Self.at(1), clock: 1)
    #expect(!coherence.isProven(at: Self.at(1)), "nothing is heard yet")
    coherence.began(at: Self.at(1000))
    // One that was sent before proves nothing of what came in between.
    coherence.proved(at: Self.at(999), clock: 50)
    #expect(!coherence.believesShared(at: Self.at(1000)))
    coherence.proved(at: Self.at(1000), clock: 100)
    #expect(coherence.believes(1, version: 3, stamp: 101, at: Self.at(1900)))
    #expect(!coherence.believes(1, version: 3, stamp: 100, at: Self.at(1900)), "it is from before")
    #expect(!coherence.believes(1, version: 3, stamp: 101, at: Self.at(1901)), "the proof is old")
    #expect(coherence.wantsProof(at: Self.at(1301)) && !coherence.wantsProof(at: Self.at(1300)))
    coherence.changed(1, to: 4, at: Self.at(1100))
    #expect(!coherence.believes(1, version: 3, stamp: 200, at: Self.at(1200)))
    #expect(coherence.believes(1, version: 4, stamp: 200, at: Self.at(1200)))
    #expect(coherence.believes(2, version: 1, stamp: 200, at: Self.at(1200)))
    coherence.invalidated(2, since: 200, at: Self.at(1200))
    #expect(!coherence.believes(2, version: 1, stamp: 200, at: Self.at(1200)))
    coherence.invalidatedAll(since: 300)
    #expect(!coherence.believes(1, version: 9, stamp: 300, at: Self.at(1200)))
    #expect(coherence.believes(1, version: 9, stamp: 301, at: Self.at(1200)))
    coherence.ended()
    #expect(coherence.isProven(at: Self.at(1900)) && !coherence.believesShared(at: Self.at(1200)))
  }

  @Test func anOrderToForgetAllHoldsAlsoIfItIsHeardBeforeALookThatWasEarlier() {
    var coherence = Coherence<Int>(memory: .seconds(300 as UInt64), boundsMax: 10)
    coherence.began(at: Self.at(0))
    coherence.invalidatedAll(since: 150)
    coherence.proved(at: Self.at(0), clock: 100)
    #expect(!coherence.believes(1, version: 1, stamp: 150, at: Self.at(1)))
    #expect(coherence.believes(1, version: 1, stamp: 151, at: Self.at(1)))
    // The page is turned, a look is on its way, and the page is turned again.
    for key in 0..<10 { coherence.changed(key, to: 5, at: Self.at(1)) }
    coherence.proved(at: Self.at(10), clock: 200)
    coherence.invalidatedAll(since: 250)
    coherence.proved(at: Self.at(20), clock: 220)
    for key in 0..<10 { coherence.changed(key, to: 5, at: Self.at(21)) }
    coherence.proved(at: Self.at(30), clock: 300)
    #expect(!coherence.believes(99, version: 1, stamp: 250, at: Self.at(30)))
    #expect(coherence.believes(99, version: 1, stamp: 251, at: Self.at(30)))
  }

  @Test func afterAnOrderWithoutATimeNothingElsewhereIsBelievedUntilTheNextLook() {
    var coherence = Coherence<Int>(memory: .seconds(300 as UInt64), boundsMax: 10)
    coherence.began(at: Self.at(0))
    coherence.proved(at: Self.at(0), clock: 100)
    coherence.invalidatedAll(at: Self.at(2))
    coherence.proved(at: Self.at(1), clock: 200)
    #expect(!coherence.believes(1, version: 1, stamp: 300, at: Self.at(2)))
    coherence.proved(at: Self.at(2), clock: 400)
    #expect(!coherence.believes(1, version: 1, stamp: 400, at: Self.at(2)))
    #expect(coherence.believes(1, version: 1, stamp: 401, at: Self.at(2)))
  }

  @Test func whatWasWrittenIsOvertakenByWhateverWasHeardOfItOrMissedMeanwhile() {
    var coherence = Coherence<Int>(memory: .seconds(300 as UInt64), boundsMax: 10)
    func isOvertaken(_ key: Int = 1, since time: UInt64) -> Bool {
      coherence.isOvertaken(key, version: 5, stamp: 150, since: Self.at(time))
    }
    #expect(!isOvertaken(since: 1), "nobody hears, and nothing is believed for long")
    coherence.began(at: Self.at(10))
    #expect(isOvertaken(since: 10) && !isOvertaken(since: 11))
    coherence.proved(at: Self.at(10), clock: 100)
    coherence.changed(1, to: 5, at: Self.at(12))
    #expect(!isOvertaken(since: 11), "that was this one")
    coherence.changed(1, to: 6, at: Self.at(12))
    coherence.invalidated(2, since: 150, at: Self.at(12))
    #expect(isOvertaken(since: 11) && isOvertaken(2, since: 11) && !isOvertaken(3, since: 11))
    coherence.invalidatedAll(since: 150)
    #expect(isOvertaken(3, since: 11))
    coherence = Coherence<Int>(memory: .seconds(300 as UInt64), boundsMax: 10)
    for key in 0..<30 { coherence.changed(key, to: 5, at: Self.at(20)) }
    #expect(isOvertaken(99, since: 19) && !isOvertaken(99, since: 21), "it is not known any more")
  }

  @Test func whatIsRememberedIsBoundedAndWhatIsForgottenIsNotBelieved() {
    var coherence = Coherence<Int>(memory: .seconds(300 as UInt64), boundsMax: 10)
    coherence.began(at: Self.at(0))
    coherence.proved(at: Self.at(0), clock: 0)
    for key in 0..<10 { coherence.changed(key, to: 5, at: Self.at(1)) }
    // The first look turns the page, the second one bounds what is on it, the third one turns it again.
    for (time, clock) in [(10, 10), (20, 20)] as [(UInt64, Int64)] { coherence.proved(at: Self.at(time), clock: clock) }
    #expect(!coherence.believes(1, version: 4, stamp: 30, at: Self.at(20)))
    for key in 10..<20 { coherence.changed(key, to: 5, at: Self.at(21)) }
    coherence.proved(at: Self.at(30), clock: 30)
    #expect(!coherence.believes(1, version: 4, stamp: 20, at: Self.at(30)), "as old as what is forgotten")
    #expect(coherence.believes(1, version: 4, stamp: 21, at: Self.at(30)), "read after the change")
    #expect(!coherence.believes(11, version: 4, stamp: 31, at: Self.at(30)))
    // So many while nobody asks: nothing is believed until somebody does.
    for key in 100..<130 { coherence.changed(key, to: 5, at: Self.at(31)) }
    #expect(!coherence.believesShared(at: Self.at(31)))
    coherence.proved(at: Self.at(31), clock: 40)
    #expect(coherence.believes(1, version: 4, stamp: 41, at: Self.at(31)))
  }
}
