public import Basics

/// When a worker says that it lives: all decisions, no I/O.
///
/// A worker that works beats every few seconds. For one at rest a third of that would do, for nothing is lost with it;
/// but somebody has to look that often for workers that died and tasks that nobody was told of. So those at rest take
/// turns. Each beat says when the next one comes, and that is where the promises of the others leave the first gap:
///
///     A   beat ─────────────────────────────────────────── beat ─── …
///     B   beat ───────────── beat ──────────────────────────────────────────── beat …
///     C   beat ─────────────────────────── beat ─────────── …
///
/// Who has not beaten for almost as long as others wait until they take over, because its process was stopped or
/// PostgreSQL was away, claims nothing until a beat of its own was answered: it may have been succeeded.
public struct BeatSchedule: Sendable {
  /// The pause between two beats of a worker that works, and the longest of one at rest.
  let beat: TimeSpan
  let longest: TimeSpan
  private let claimsFor: TimeSpan
  /// When the last beat was sent, and when the last one that was answered.
  private var lastSent: MonotonicTime
  private var lastHeard: MonotonicTime
  /// How long after it the next comes at the latest, and by which share of that it comes earlier.
  private var promised: TimeSpan
  private var early = 0.0
  /// A time at which one is wanted in any case.
  private var wanted: MonotonicTime
  /// When what was claimed without being heard of can be given back: when one looks next, and when for the last time.
  private var looksBack = (first: MonotonicTime.never, last: MonotonicTime.never)
  /// Until when the worker has waited, or will.
  private var alarm: MonotonicTime

  /// The schedule of a worker that begins at `now`, beats as soon as it can and then every `beat`, and is succeeded
  /// after a silence of `leaseSeconds`, which is longer than the longest pause by a beat and a half at least.
  public init(beat: TimeSpan, leaseSeconds: Double, at now: MonotonicTime) {
    self.beat = beat
    longest = TimeSpan(nanoseconds: beat.nanoseconds * Limits.restBeats)
    promised = beat
    claimsFor = BeatSchedule.claimingSpan(beat: beat, leaseSeconds: leaseSeconds)
    precondition(
      BeatSchedule.fits(beat: beat, leaseSeconds: leaseSeconds),
      "a worker at rest would have to fear that it is taken for dead")
    (lastSent, lastHeard, wanted, alarm) = (now, now, now, now)
  }

  /// Whether a worker at rest has beaten again before it has to fear that it is taken for dead.
  static func fits(beat: TimeSpan, leaseSeconds: Double) -> Bool {
    claimingSpan(beat: beat, leaseSeconds: leaseSeconds).nanoseconds >= beat.nanoseconds * Limits.restBeats
  }

  private static func claimingSpan(beat: TimeSpan, leaseSeconds: Double) -> TimeSpan {
    .seconds(max(leaseSeconds - beat.seconds - Limits.beatGrace.seconds, leaseSeconds / 2))
  }

  /// When the next beat is to be sent by a worker that has been at rest since the last one, or has not.
  public func due(isAtRest: Bool) -> MonotonicTime {
    let pause = isAtRest ? promised : min(promised, beat)
    return min(wanted, looksBack.first, lastSent + .seconds(pause.seconds * (1 - early)))
  }

  /// The worker waits until `time`, or until a beat is ordered.
  public mutating func alarmSet(for time: MonotonicTime) { alarm = time }

  /// It does not wait any more, because a beat was ordered or it rests no more.
  public mutating func alarmEnded(at now: MonotonicTime) { alarm = min(alarm, now) }

  /// When the beat that is due could be sent at the earliest. For one that has just ceased to rest it may have been due
  /// before, which nobody knew then: that it comes later is no outage.
  public func sendable(isAtRest: Bool) -> MonotonicTime { max(due(isAtRest: isAtRest), alarm) }

  /// A beat is sent. The next comes up to a tenth earlier than promised, by `share` of that, so that not all come at
  /// once.
  public mutating func sent(share: Double, at now: MonotonicTime) {
    lastSent = now
    wanted = .never
    if now >= looksBack.first {
      looksBack.first = now >= looksBack.last ? .never : min(looksBack.last, now + Limits.lookBackPause)
    }
    promised = beat
    early = share / 10
  }

  /// The last beat was answered, and has promised the next one in `promisedSeconds`.
  public mutating func answered(promisedSeconds: Double) {
    lastHeard = lastSent
    promised = .seconds(promisedSeconds)
  }

  /// A beat is wanted at `time`.
  public mutating func order(at time: MonotonicTime) { wanted = min(wanted, time) }

  /// A beat is wanted at `time`, whatever beats come before: a claim whose answer was lost can be given back then.
  public mutating func lookBack(at time: MonotonicTime) {
    looksBack = (min(looksBack.first, time), time)
  }

  /// Whether this worker can be sure that others do not take it for dead.
  public func mayClaim(at now: MonotonicTime) -> Bool { now.since(lastHeard) < claimsFor }
}
