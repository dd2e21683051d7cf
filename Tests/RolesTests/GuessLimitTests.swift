import Basics
@testable import Roles
import Testing

@Suite("Guess limit", .timeLimit(.minutes(5))) struct GuessLimitTests {
  private func at(_ seconds: UInt64) -> MonotonicTime { MonotonicTime(nanoseconds: seconds * 1_000_000_000) }

  @Test("ten wrong tokens in a minute are enough, and each address pays for its own") func window() {
    var limit = GuessLimit()
    for second in 0..<UInt64(Limits.wrongTokensMax) {
      #expect(limit.wait(of: 1, at: at(100 + second)) == nil)
      limit.wasWrong(1, at: at(100 + second))
    }
    #expect(limit.wait(of: 1, at: at(120)) == 41)
    #expect(limit.wait(of: 2, at: at(120)) == nil)
    #expect(limit.wait(of: 1, at: at(159)) == 2)
    #expect(limit.wait(of: 1, at: at(160)) == nil)
    // A new window has begun.
    limit.wasWrong(1, at: at(160))
    #expect(limit.wait(of: 1, at: at(161)) == nil)
  }

  @Test("however many addresses guess, so many are known, and the latest are") func bounded() {
    var limit = GuessLimit()
    for address in 0..<UInt64(3 * Limits.guessersMax) {
      for _ in 0..<Limits.wrongTokensMax { limit.wasWrong(address, at: at(100 + address / 1000)) }
      #expect(limit.wait(of: address, at: at(100 + address / 1000)) != nil)
    }
    let known = (0..<UInt64(3 * Limits.guessersMax)).filter { limit.wait(of: $0, at: at(112)) != nil }
    #expect(known.count == Limits.guessersMax)
  }
}
