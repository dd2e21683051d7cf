import Basics
import Testing

@testable import TaskQueue

/// Beats of one worker: what it sends, when, and what time it is at PostgreSQL then.
private struct Story {
  var policy = TakeOverPolicy(beat: .seconds(5.0), leaseSeconds: 30)
  private var now = 1000.0
  private var due = 1000.0
  /// By how much PostgreSQL's clock is ahead of ours.
  var ahead = 1_700_000_000.0

  private func time(_ seconds: Double) -> MonotonicTime { MonotonicTime(nanoseconds: UInt64(seconds * 1e9)) }

  /// The beat is sent `late` seconds after it was due, reaches PostgreSQL `latency` seconds later, and is answered as
  /// long after that; the next is due 5 s after it was sent.
  mutating func beat(
    _ suspects: [TakeOverPolicy.Suspect] = [], late: Double = 0, latency: Double = 0.001, serverSeconds: Double = 3600
  ) -> TakeOverPolicy.Verdict {
    now = max(now, due) + late
    policy.sent(sendable: time(due), at: time(now))
    due = now + 5
    let clock = now + latency + ahead
    now += 2 * latency
    return policy.answered(suspects, clockSeconds: clock, serverSeconds: serverSeconds, at: time(now))
  }

  /// It is sent in time and not answered.
  mutating func failedBeat() {
    now = max(now, due)
    policy.sent(sendable: time(due), at: time(now))
    due = now + 5
    policy.failed()
  }

  /// One that has beaten for a while.
  static var settled: Story {
    var story = Story()
    for _ in 0..<3 { _ = story.beat() }
    return story
  }
}

private func suspect(_ silent: Double, gone: Bool, promised: Double = 5) -> TakeOverPolicy.Suspect {
  TakeOverPolicy.Suspect(
    worker: 2, beats: 7, silentSeconds: silent, promisedSeconds: promised, isSessionGone: gone)
}

@Suite(.timeLimit(.minutes(5))) struct TakeOverPolicyTests {
  private let dead = suspect(20, gone: true)

  @Test func `who has just come waits for a sign of life before it judges, and looks again when it may`() {
    var story = Story()
    let first = story.beat([dead])
    #expect(first.dead.isEmpty && abs((first.looksAgainAfter?.seconds ?? 0) - 6.5) < 0.01)
    #expect(story.beat([dead]).dead.isEmpty)
    #expect(story.beat([dead]).dead == [dead])
  }

  @Test(
    arguments: [
      (0.4, 5, true, "again"), (4.9, 5, true, "again"), (6.4, 5, true, "again"), (6.6, 5, true, "dead"),
      (6.6, 5, false, "mute"), (29, 5, false, "mute"), (30.1, 5, false, "dead"), (0.1, 5, false, "none"),
      // One at rest has promised less, and is missed later; but without a session it is dead as early as others.
      (6.6, 15, false, "none"), (16.4, 15, false, "none"), (16.6, 15, false, "mute"), (6.4, 15, true, "again"),
      (6.6, 15, true, "dead"), (30.1, 15, false, "dead"),
    ] as [(Double, Double, Bool, String)])
  func `a session that breaks for a moment is no death, and neither is a late beat alone`(
    silent: Double, promised: Double, gone: Bool, expected: String
  ) {
    var story = Story.settled
    let verdict = story.beat([suspect(silent, gone: gone, promised: promised)])
    #expect(verdict.dead.isEmpty != (expected == "dead") && verdict.mute.isEmpty != (expected == "mute"))
    #expect((verdict.looksAgainAfter != nil) == (expected == "again"))
    // The next look comes as soon as it can be told.
    if let after = verdict.looksAgainAfter { #expect(abs(silent + after.seconds - 6.5) < 0.1) }
  }

  @Test func `who sees a new server does not judge for a while`() {
    var story = Story.settled
    let first = story.beat([dead], serverSeconds: 3)
    #expect(first.dead.isEmpty)
    #expect(abs((first.looksAgainAfter?.seconds ?? 0) - 7) < 0.01)
    #expect(story.beat([dead], serverSeconds: 8).dead.isEmpty)
    #expect(story.beat([dead], serverSeconds: 13).dead == [dead])
  }

  @Test func `a slow PostgreSQL keeps nobody from being judged`() {
    for latency in [0.9, 2, 4, 9] {
      var story = Story.settled
      for _ in 0..<4 { #expect(story.beat([dead], latency: latency).dead == [dead], "\(latency)") }
      // Neither when it is slow, nor when it comes to itself again.
      #expect(story.beat([dead]).dead == [dead], "\(latency)")
    }
  }

  @Test(arguments: ["a beat failed", "it was stopped", "the host was suspended", "the clock was set"])
  func `after an outage of its own it waits for the others`(outage: String) {
    var story = Story.settled
    func settles(_ first: TakeOverPolicy.Verdict) {
      #expect(first.dead.isEmpty && first.mute.isEmpty)
      #expect(abs((first.looksAgainAfter?.seconds ?? 0) - 10) < 0.01)
      #expect(story.beat([dead]).dead.isEmpty)
      _ = story.beat([dead])
      #expect(story.beat([dead]).dead == [dead])
    }
    switch outage {
    case "a beat failed":
      story.failedBeat()
      settles(story.beat([dead]))
    case "it was stopped": settles(story.beat([dead], late: 2))
    case "the host was suspended":
      // Our clock stood while PostgreSQL's went on.
      story.ahead += 60
      settles(story.beat([dead]))
    default:
      story.ahead -= 60
      settles(story.beat([dead]))
    }
  }

  @Test func `a clock that runs a little faster is no outage, and neither is a slot of time that others took`() {
    var story = Story.settled
    for _ in 0..<20 {
      story.ahead += 0.05
      #expect(story.beat([dead], late: 0.4).dead == [dead])
    }
  }
}

@Suite(.timeLimit(.minutes(5))) struct BeatScheduleTests {
  private static let start = 1000.0

  private static func time(_ seconds: Double) -> MonotonicTime { MonotonicTime(nanoseconds: UInt64(seconds * 1e9)) }

  private func schedule() -> BeatSchedule {
    BeatSchedule(beat: .seconds(5.0), leaseSeconds: 30, at: Self.time(Self.start))
  }

  private func due(_ schedule: BeatSchedule, isAtRest: Bool) -> Double {
    Double(schedule.due(isAtRest: isAtRest).nanoseconds) / 1e9 - Self.start
  }

  @Test func `who works beats every five seconds, who rests as late as it has promised`() {
    var schedule = schedule()
    #expect(due(schedule, isAtRest: false) == 0)
    schedule.sent(share: 0, at: Self.time(Self.start))
    // Until it is answered nothing was promised.
    #expect(due(schedule, isAtRest: true) == 5)
    schedule.answered(promisedSeconds: 15)
    #expect(due(schedule, isAtRest: true) == 15 && due(schedule, isAtRest: false) == 5)
    schedule.sent(share: 1, at: Self.time(Self.start + 15))
    schedule.answered(promisedSeconds: 10)
    #expect(due(schedule, isAtRest: true) == 24 && due(schedule, isAtRest: false) == 19.5)
    schedule.order(at: Self.time(Self.start + 16))
    #expect(due(schedule, isAtRest: true) == 16)
    schedule.sent(share: 0, at: Self.time(Self.start + 16))
    #expect(due(schedule, isAtRest: true) == 21)
  }

  @Test func `beats look back at claims whose answers were lost, from the first to the last`() {
    var schedule = schedule()
    for second in [30.0, 33, 41] { schedule.lookBack(at: Self.time(Self.start + second)) }
    func beat(at second: Double) {
      schedule.sent(share: 0, at: Self.time(Self.start + second))
      schedule.answered(promisedSeconds: 15)
    }
    // Beats that come before change nothing of that.
    for second in [0.0, 10] { beat(at: second) }
    #expect(due(schedule, isAtRest: true) == 25)
    beat(at: 25)
    #expect(due(schedule, isAtRest: true) == 30 && due(schedule, isAtRest: false) == 30)
    for second in [30.0, 32, 34, 36, 38] {
      beat(at: second)
      #expect(due(schedule, isAtRest: true) == second + 2)
    }
    beat(at: 40)
    #expect(due(schedule, isAtRest: true) == 41)
    beat(at: 41)
    #expect(due(schedule, isAtRest: true) == 56)
  }

  /// A worker that has settled rests from `start` on with a promise of ten seconds, and another one is killed at once.
  /// Whether it takes that for dead with a beat that it sends `late` seconds after its alarm or an order to wake up.
  private func judges(wokenAfter seconds: Double, byOrder: Bool, isAtRest: Bool = false, late: Double = 0) -> Bool {
    var schedule = schedule()
    var policy = TakeOverPolicy(beat: .seconds(5.0), leaseSeconds: 30)
    func beat(at seconds: Double, isAtRest: Bool, _ suspects: [TakeOverPolicy.Suspect]) -> TakeOverPolicy.Verdict {
      let now = Self.time(Self.start + seconds)
      policy.sent(sendable: schedule.sendable(isAtRest: isAtRest), at: now)
      schedule.sent(share: 0, at: now)
      let verdict = policy.answered(
        suspects, clockSeconds: 1_700_000_000 + seconds, serverSeconds: 3600, at: now)
      schedule.answered(promisedSeconds: 10)
      return verdict
    }
    for second in [-20.0, -15, -10, -5, 0] { _ = beat(at: second, isAtRest: false, []) }
    schedule.alarmSet(for: schedule.due(isAtRest: true))
    let now = seconds + late
    if byOrder { schedule.alarmEnded(at: Self.time(Self.start + now)) }
    return !beat(at: now, isAtRest: isAtRest, [suspect(now, gone: true)]).dead.isEmpty
  }

  @Test func `waking from rest is no outage, whatever has woken it`() {
    // A task wakes it after seven seconds, when a beat of one that works would have been due long ago.
    #expect(judges(wokenAfter: 7, byOrder: true))
    // Its time has come, while one of its slots happens to be awake.
    #expect(judges(wokenAfter: 10, byOrder: false))
    #expect(judges(wokenAfter: 10, byOrder: false, isAtRest: true))
    // It was stopped when its time came, whatever it hears first when it goes on.
    #expect(!judges(wokenAfter: 10, byOrder: false, late: 2))
    #expect(!judges(wokenAfter: 10, byOrder: true, late: 2))
  }

  @Test func `a lease that ends before a worker at rest has beaten again does not fit`() {
    #expect(!BeatSchedule.fits(beat: .seconds(5.0), leaseSeconds: 21))
    #expect(BeatSchedule.fits(beat: .seconds(5.0), leaseSeconds: 21.5))
  }

  @Test func `nothing is claimed by a worker that was not heard for almost a lease`() {
    var schedule = schedule()
    #expect(schedule.mayClaim(at: Self.time(Self.start + 23.4)))
    #expect(!schedule.mayClaim(at: Self.time(Self.start + 23.6)))
    // It was stopped: what it sent before proves nothing until it is answered.
    schedule.sent(share: 0, at: Self.time(Self.start + 60))
    #expect(!schedule.mayClaim(at: Self.time(Self.start + 60)))
    schedule.answered(promisedSeconds: 5)
    #expect(schedule.mayClaim(at: Self.time(Self.start + 60)))
  }
}
