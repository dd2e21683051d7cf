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
    var (askedAt, deadline, until) = (UInt64?.none, MonotonicTime?.none, MonotonicTime?.none)
    var (sole, begun, ran) = (0 as UInt64, 0, 0)
    // Milliseconds that a slow task takes at the most, a quick one, and a look after the other.
    let (longest, quick, step): (UInt64, UInt64, UInt64) =
      seed.isMultiple(of: 5) ? (60_000, 2000, 400) : (500, 20, 10)
    let end = 1000 * step
    for now in stride(from: step, to: end, by: Int(step)) as StrideTo<UInt64> {
      for index in others.indices {
        if let end = others[index].busyUntil, end <= now {
          others[index].busyUntil = nil
          if rule.slotEmptied(slow: others[index].isSlow) { deadline = time(now) }
        }
        let isSlow = others[index].isSlow
        guard others[index].busyUntil == nil, !rule.holdsBack(slow: isSlow), Bool.random(using: &random) else {
          continue
        }
        // Quick ones go on as long as something slow is waited for.
        others[index].busyUntil = now + .random(in: 1...(isSlow ? longest : quick), using: &random)
        rule.slotOccupied(slow: isSlow)
      }
      if let due = until {
        sole += step
        // Either it is over or its time is.
        if time(now) >= due || Int.random(in: 0..<20, using: &random) == 0 {
          rule.end(at: time(now))
          (askedAt, until) = (nil, nil)
          #expect(others.allSatisfy { !rule.holdsBack(slow: $0.isSlow) })
        }
      } else if askedAt != nil {
        guard let due = deadline, time(now) >= due else { continue }
        let busy = others.contains { $0.busyUntil ?? 0 > now }
        // Alone before its time was over, or it has waited as long as it has to.
        #expect(!busy || now - askedAt! >= 30_000)
        #expect(rule.isAlone == !busy)
        until = rule.run(at: time(now))
        ran += 1
        #expect(rule.isAlone && others.allSatisfy { rule.holdsBack(slow: $0.isSlow) })
      } else if rule.pause(at: time(now)) == nil {
        askedAt = now
        begun += 1
        deadline = rule.begin(at: time(now)) ?? time(now)
      }
    }
    #expect(begun - ran <= 1 && ran > 2)
    // The others have half of the time, but for what is under way.
    #expect(sole <= end / 2 + 60_000)
  }
}
