import Basics
import Testing

@testable import TaskQueue

@Suite(.timeLimit(.minutes(2))) struct TakeOverPolicyTests {
  private let start = MonotonicTime(nanoseconds: 1_000_000_000_000)

  private func suspect(_ silent: Double, gone: Bool) -> TakeOverPolicy.Suspect {
    TakeOverPolicy.Suspect(worker: 2, beats: 7, silentSeconds: silent, isSessionGone: gone)
  }

  private func policy() -> TakeOverPolicy { TakeOverPolicy(beat: .seconds(5 as UInt64), leaseSeconds: 30) }

  @Test(arguments: [
    (0.4, true, "again"), (4.9, true, "again"), (6.4, true, "again"), (6.6, true, "dead"), (6.6, false, "mute"),
    (29.0, false, "mute"), (30.1, false, "dead"), (0.1, false, "none"),
  ])
  func `a session that breaks for a moment is no death, and neither is a late beat alone`(
    silent: Double, gone: Bool, expected: String
  ) {
    var policy = policy()
    let verdict = policy.answered([suspect(silent, gone: gone)], serverSeconds: 3600, at: start)
    #expect(verdict.dead.isEmpty != (expected == "dead") && verdict.mute.isEmpty != (expected == "mute"))
    #expect((verdict.looksAgainAfter != nil) == (expected == "again"))
    // The next look comes as soon as it can be told.
    if let after = verdict.looksAgainAfter { #expect(abs(silent + after.seconds - 6.5) < 0.1) }
  }

  @Test func `who was cut off itself, or sees a new server, does not judge for a while`() {
    var policy = policy()
    let dead = suspect(20, gone: true)
    #expect(policy.answered([dead], serverSeconds: 3, at: start) == TakeOverPolicy.Verdict())
    #expect(policy.answered([dead], serverSeconds: 11, at: start + .seconds(5 as UInt64)).dead == [dead])
    // Its own beat is late now.
    var now = start + .seconds(20 as UInt64)
    for seconds in [0, 4, 8] as [UInt64] {
      now = start + .seconds(20 + seconds)
      #expect(policy.answered([dead], serverSeconds: 3600, at: now).dead.isEmpty, "\(seconds)")
    }
    #expect(policy.answered([dead], serverSeconds: 3600, at: now + .seconds(4 as UInt64)).dead == [dead])
  }
}
