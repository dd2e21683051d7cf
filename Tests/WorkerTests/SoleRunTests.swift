import Basics
import Testing

@testable import Worker

@Suite(.timeLimit(.minutes(1))) struct SoleRunTests {
  private struct Other {
    let isSlow: Bool
    var busyUntil: UInt64?
  }

  private func time(_ milliseconds: UInt64) -> MonotonicTime { MonotonicTime(nanoseconds: milliseconds * 1_000_000) }

  /// Slots that claim at random whenever nothing holds them back, and one that asks to be alone again and again.
  @Test(arguments: 1...100 as ClosedRange<UInt64>) func nothingRunsBesideIt(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var rule = SoleRun()
    var others = (0..<Int.random(in: 1...6, using: &random)).map { _ in Other(isSlow: .random(using: &random)) }
    // Milliseconds that a slow task takes at the most, a quick one, and a look after the other.
    let (longest, quick, step): (UInt64, UInt64, UInt64) =
      seed.isMultiple(of: 5) ? (60_000, 3000, 400) : (500, 20, 10)
    let end = 1000 * step
    var (askedAt, quickHeldAt, aloneAt) = (UInt64?.none, UInt64?.none, UInt64?.none)
    var (sole, begun, ran) = (0 as UInt64, 0, 0)
    for now in stride(from: step, to: end, by: Int(step)) as StrideTo<UInt64> {
      var isTold = false
      for index in others.indices {
        let isSlow = others[index].isSlow
        if let end = others[index].busyUntil, end <= now {
          others[index].busyUntil = nil
          if rule.slotEmptied(slow: isSlow, at: time(now)) { isTold = true }
        }
        guard others[index].busyUntil == nil, !rule.holdsBack(slow: isSlow), Bool.random(using: &random) else {
          continue
        }
        // Quick ones go on as long as something slow is waited for.
        others[index].busyUntil = now + .random(in: 1...(isSlow ? longest : quick), using: &random)
        rule.slotOccupied(slow: isSlow)
      }
      let busy = others.filter { $0.busyUntil != nil }
      if askedAt != nil, aloneAt == nil {
        rule.timePassed(at: time(now))
        if rule.holdsBack(slow: false), quickHeldAt == nil { quickHeldAt = now }
        // Slow ones are waited for as long as is said, quick ones in any case.
        #expect(busy.allSatisfy { !$0.isSlow } || !rule.holdsBack(slow: false) || now - askedAt! >= 30_000)
        if rule.isAlone {
          #expect(busy.isEmpty || now - (quickHeldAt ?? now) >= 5000 || busy.allSatisfy(\.isSlow))
          aloneAt = now
          ran += 1
        }
      } else if let from = aloneAt {
        #expect(rule.isAlone && others.allSatisfy { rule.holdsBack(slow: $0.isSlow) })
        #expect(rule.isTiring(at: time(now)) == (now - from >= 30_000))
        sole += step
        if rule.isTiring(at: time(now)) || Int.random(in: 0..<20, using: &random) == 0 {
          rule.end(at: time(now))
          #expect(others.allSatisfy { !rule.holdsBack(slow: $0.isSlow) })
          let pause = time(now + max(now - askedAt!, 1000))
          #expect(rule.pause(at: time(now)) == pause && rule.pause(at: pause) == nil)
          (askedAt, quickHeldAt, aloneAt) = (nil, nil, nil)
        }
      } else if rule.pause(at: time(now)) == nil {
        (askedAt, begun) = (now, begun + 1)
        rule.begin(at: time(now))
        #expect(rule.isAlone == busy.isEmpty)
      }
      // Whoever waits is told when the last one is done.
      if isTold { #expect(rule.isAlone && (aloneAt == now || askedAt == nil)) }
    }
    #expect(begun - ran <= 1 && ran > 2)
    // The others have half of the time, but for what is under way.
    #expect(sole <= end / 2 + 60_000)
  }
}
