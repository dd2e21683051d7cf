import Basics

/// Keeps count of wrong tokens by the address they came from, and says who has to wait: a token is guessed by trying.
struct GuessLimit {
  /// Wrong tokens of one address within a window.
  private struct Tries {
    var count = 0
    let since: MonotonicTime
  }

  private var tries: [UInt64: Tries] = [:]

  /// Nobody has tried anything.
  init() {}

  /// How many seconds the address must wait before any token of it is looked at, nil if it may try now.
  func wait(of address: UInt64, at now: MonotonicTime) -> Int? {
    guard let its = tries[address], its.count >= Limits.wrongTokensMax else { return nil }
    let passed = now.since(its.since)
    guard passed < Limits.wrongTokensWindow else { return nil }
    return Int((Limits.wrongTokensWindow.nanoseconds - passed.nanoseconds) / 1_000_000_000) + 1
  }

  /// The address has shown a wrong token.
  mutating func wasWrong(_ address: UInt64, at now: MonotonicTime) {
    if let its = tries[address], now.since(its.since) < Limits.wrongTokensWindow {
      tries[address]?.count = its.count + 1
      return
    }
    if tries.count >= Limits.guessersMax { makeRoom(at: now) }
    tries[address] = Tries(count: 1, since: now)
  }

  /// Forgets those whose window is over, or else the one whose window is over next.
  private mutating func makeRoom(at now: MonotonicTime) {
    tries = tries.filter { now.since($0.value.since) < Limits.wrongTokensWindow }
    guard tries.count >= Limits.guessersMax, let oldest = tries.min(by: { $0.value.since < $1.value.since }) else {
      return
    }
    tries[oldest.key] = nil
  }
}
