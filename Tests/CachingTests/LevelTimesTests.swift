import Basics
@testable import Caching
import Testing

@Suite(.timeLimit(.minutes(5))) struct LevelTimesTests {
  private static let hour = TimeSpan.seconds(3600 as UInt64)

  @Test func aValueClimbsOneLevelAHitAndNeverOutlivesWhatItCameFrom() {
    let times = LevelTimes()
    for seed in 0..<2000 as Range<UInt64> {
      var random = SeededRandom(seed: seed)
      let wish = Bool.random(using: &random) ? TimeSpan.seconds(Double.random(in: 1...4000, using: &random)) : nil
      var (level, remaining) = (CacheLevel.l3, times.lifetime(in: .l3, wish: wish, using: &random))
      #expect(remaining <= min(Self.hour, wish ?? Self.hour))
      var path = [level]
      while true {
        // Some of it is over when it is found.
        remaining = TimeSpan(nanoseconds: .random(in: 0...remaining.nanoseconds, using: &random))
        guard let next = times.promotion(from: level, remaining: remaining, wish: wish, using: &random) else { break }
        #expect(next.lifetime <= remaining && next.lifetime <= (next.level == .l2 ? times.l2 : times.l1))
        (level, remaining) = next
        path.append(level)
      }
      #expect(path == [.l3, .l2, .l1])
    }
  }

  @Test func valuesThatWereLoadedTogetherAreNotMissedTogether() {
    var random = SeededRandom(seed: 1)
    let times = LevelTimes()
    let lifetimes = (0..<1000).map { _ in times.lifetime(in: .l2, using: &random).seconds }
    #expect(lifetimes.allSatisfy { 270...300 ~= $0 } && Set(lifetimes).count > 5)
    #expect((lifetimes.max() ?? 0) - (lifetimes.min() ?? 0) > 25)
  }

  @Test func levelsAreCalledByTheirNamesInEitherCase() {
    #expect(CacheLevel(name: "L2") == .l2 && CacheLevel(name: "l3") == .l3)
    #expect(CacheLevel(name: "L4") == nil && CacheLevel(name: "") == nil)
  }
}
