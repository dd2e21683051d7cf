import Basics
import Testing

@testable import TaskQueue

@Suite(.timeLimit(.minutes(2))) struct TakeOverPolicyTests {
  private let start = MonotonicTime(nanoseconds: 1_000_000_000_000)

  private func suspect(_ silent: Double, gone: Bool) -> TakeOverPolicy.Suspect {
    TakeOverPolicy.Suspect(worker: 2, beats: 7, silentSeconds: silent, isSessionGone: gone)
  }

  /// The policy of a worker that has beaten for a while.
  private func policy() -> TakeOverPolicy {
    var policy = TakeOverPolicy(beat: .seconds(5 as UInt64), leaseSeconds: 30)
    for before in [10, 5] as [UInt64] {
      let then = MonotonicTime(nanoseconds: start.nanoseconds - before * 1_000_000_000)
      _ = policy.answered([], serverSeconds: 3600, at: then)
    }
    return policy
  }

  @Test func `who has just come waits for a sign of life before it judges, and looks again when it may`() {
    var policy = TakeOverPolicy(beat: .seconds(5 as UInt64), leaseSeconds: 30)
    let silent = suspect(300, gone: true)
    let first = policy.answered([silent], serverSeconds: 3600, at: start)
    #expect(first.dead.isEmpty && abs((first.looksAgainAfter?.seconds ?? 0) - 6.5) < 0.01)
    #expect(policy.answered([silent], serverSeconds: 3600, at: start + .seconds(5 as UInt64)).dead.isEmpty)
    #expect(policy.answered([silent], serverSeconds: 3600, at: start + .seconds(7 as UInt64)).dead == [silent])
  }

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
    #expect(policy.answered([dead], serverSeconds: 3, at: start).dead.isEmpty)
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
