import Basics
import Testing

@testable import Caching

@Suite("Loading before the end", .timeLimit(.minutes(5))) struct EarlyRefreshTests {
  /// How many of ten thousand callers would load a copy anew that is good for `remaining`.
  private func share(_ early: EarlyRefresh, _ remaining: TimeSpan, seed: UInt64 = 1) -> Double {
    var random = SeededRandom(seed: seed)
    return Double((0..<10_000).count { _ in early.wants(remaining: remaining, using: &random) }) / 10_000
  }

  @Test("the nearer the end and the longer a load takes, the likelier, by the paper's own measure") func chances() {
    var early = EarlyRefresh()
    for _ in 0..<100 { early.loaded(in: .milliseconds(200)) }
    #expect(share(early, .milliseconds(0)) == 1)
    // e to the power of minus remaining over load.
    for (remaining, expected) in [(100, 0.607), (200, 0.368), (400, 0.135), (1000, 0.0067)] as [(UInt64, Double)] {
      #expect(abs(share(early, .milliseconds(remaining)) - expected) < 0.02, "\(remaining)")
    }
    #expect(share(early, .seconds(10 as UInt64)) == 0)
  }

  @Test("what is loaded fast, or was never loaded, is left alone until its end") func fast() {
    var early = EarlyRefresh()
    #expect(share(early, .milliseconds(0)) == 0)
    for _ in 0..<100 { early.loaded(in: .milliseconds(1)) }
    #expect(share(early, .milliseconds(0)) == 0)
    // An average follows what has become slow.
    for _ in 0..<100 { early.loaded(in: .milliseconds(100)) }
    #expect(share(early, .milliseconds(10)) > 0.8)
  }
}
