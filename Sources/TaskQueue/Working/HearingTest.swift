import Basics

/// Whether a lifeline still hears: all decisions, no I/O.
///
/// One that has been quiet for long is tested with a beat, which sends a notification to all. That may come a little
/// after the beat's answer, on another connection, and the next beat may follow at once.
struct HearingTest {
  /// What is to be done before a beat.
  enum Step: Equatable {
    case nothing
    /// The beat sends a notification.
    case send
    /// It has not come: the lifeline is deaf.
    case giveUp
  }

  private enum State {
    case none
    case sent
    case answered(at: MonotonicTime)
  }

  /// When anything was heard last.
  private(set) var lastHeard = MonotonicTime(nanoseconds: 0)
  private var state = State.none

  /// A beat is due, of a worker whose lifeline may be quiet for `quiet`.
  mutating func beatDue(afterQuiet quiet: TimeSpan, at now: MonotonicTime) -> Step {
    guard now.since(lastHeard) >= quiet else { return .nothing }
    switch state {
    case .none:
      state = .sent
      return .send
    case .sent: return .nothing
    case .answered(let time): return now.since(time) >= Limits.beatGrace ? .giveUp : .nothing
    }
  }

  /// The beat that sent the notification was answered, so it is on its way, unless it has come already.
  mutating func answered(at now: MonotonicTime) {
    if case .sent = state { state = .answered(at: now) }
  }

  /// That beat has failed.
  mutating func failed() { state = .none }

  /// Something was heard, or the lifeline is new.
  mutating func heard(at now: MonotonicTime) {
    lastHeard = now
    state = .none
  }
}
