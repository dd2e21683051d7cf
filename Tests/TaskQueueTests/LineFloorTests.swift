import Basics
import Testing

@testable import TaskQueue

/// A line of tasks that are committed a while after they got their places, and a slot that claims.
private struct Line {
  var random: SeededRandom
  var floor = LineFloor(sweepPause: .seconds(1 as UInt64))
  var now = MonotonicTime(nanoseconds: 10_000_000_000)
  /// Places that are not claimed yet, and when each is committed.
  var waiting: [Int64: MonotonicTime] = [:]
  var place: Int64 = 0
  /// When tasks were passed over that were committed, by when they are to be found.
  var passedOver: [Int64: MonotonicTime] = [:]
  var late = 0

  mutating func submit(takingMs: UInt64) {
    place += 1
    waiting[place] = now + .milliseconds(takingMs)
  }

  /// Returns where the claim started, and how many of those it passed over had not taken long.
  mutating func claim(findsAll: Bool, most: Int = 16) -> (start: Int64, quickPassedOver: Int) {
    let start = floor.start(findsAll: findsAll, at: now)
    let committed = waiting.filter { $0.value <= now }.keys.sorted()
    let found = committed.filter { $0 >= start }.prefix(most)
    var quick = 0
    for place in committed where place < start && findsAll {
      if !slow.contains(place) { quick += 1 }
      passedOver[place] = min(passedOver[place] ?? .never, now)
    }
    for place in found {
      waiting[place] = nil
      if let since = passedOver.removeValue(forKey: place), now.since(since) > .milliseconds(1100) { late += 1 }
    }
    if let first = found.first { floor.found(from: first, at: now) }
    return (start, quick)
  }

  var slow: Set<Int64> = []
}

@Suite(.timeLimit(.minutes(5))) struct LineFloorTests {
  @Test(arguments: 0..<200)
  func `a claim that must find all finds what was committed in less than a second, and a sweep the rest`(seed: UInt64) {
    var line = Line(random: SeededRandom(seed: seed))
    for _ in 0..<4000 {
      line.now = line.now + .milliseconds(line.random.next() % 4)
      let isSlow = line.random.next() % 200 == 0
      line.submit(takingMs: isSlow ? 1000 + line.random.next() % 2000 : line.random.next() % 900)
      if isSlow { line.slow.insert(line.place) }
      if line.random.next() % 2 == 0 {
        #expect(line.claim(findsAll: line.random.next() % 2 == 0).quickPassedOver == 0)
      }
    }
    #expect(line.late == 0)
  }

  @Test func `no more than two seconds' worth of dead rows stand before a claim, but once a second`() {
    var line = Line(random: SeededRandom(seed: 1))
    var (sweeps, behindMost) = (0, Int64(0))
    for _ in 0..<20_000 {
      line.now = line.now + .milliseconds(1)
      line.submit(takingMs: 0)
      let start = line.claim(findsAll: true).start
      if start == 0 { sweeps += 1 } else if line.place > 2000 { behindMost = max(behindMost, line.place - start) }
    }
    #expect(behindMost <= 2010 && sweeps <= 1021)
  }

  @Test func `a slot that sleeps without having looked at everything is to look once more, and only once`() {
    var floor = LineFloor(sweepPause: .seconds(1 as UInt64))
    var now = MonotonicTime(nanoseconds: 10_000_000_000)
    #expect(floor.start(findsAll: true, at: now) == 0 && floor.sweepDue == nil)
    floor.found(from: 5, at: now)
    now = now + .milliseconds(100)
    #expect(floor.start(findsAll: false, at: now) == 5)
    let due = floor.sweepDue
    #expect(due.map { $0 > now && $0.since(now) <= .seconds(1 as UInt64) } == true)
    #expect(floor.start(findsAll: false, at: due ?? now) == 0 && floor.sweepDue == nil)
  }
}
