public import Basics

/// When a worker says that it lives: all decisions, no I/O.
///
/// A worker that works beats every few seconds. One at rest promises its next beat for three times as long only, for
/// nothing is lost with it. But somebody has to look that often for workers that died and tasks that nobody was told
/// of. So a beat at rest looks on behalf of all, and those that hear of it put their own off:
///
///     A   beat ──────────── (heard B) ─────────────── (heard C) ──── beat …
///     B        ─ (heard A) ─── beat ─────────────────────── (heard C) …
///     C        ─ (heard A) ─────── (heard B) ──────────── beat ─────────── …
///
/// Who has not beaten for almost as long as others wait until they take over, because its process was stopped or
/// PostgreSQL was away, claims nothing until a beat of its own was answered: it may have been succeeded.
public struct BeatSchedule: Sendable {
  /// What a beat tells others.
  public struct Notice: Sendable, Equatable {
    /// In how many seconds the next comes at the latest.
    let promisedSeconds: Double
    /// Whether it looks on behalf of all.
    let looksForAll: Bool
  }

  private let beat: TimeSpan
  private let claimsFor: TimeSpan
  /// When the last beat was sent, and when the last one that was answered.
  private var lastSent: MonotonicTime
  private var lastHeard: MonotonicTime
  /// When somebody last looked on behalf of all.
  private var lastLook: MonotonicTime
  /// The next beat comes that much earlier than it must.
  private var earlyShare = 0.0
  /// A time at which it is wanted in any case.
  private var wanted: MonotonicTime

  /// The schedule of a worker that has registered at `now`, beats at once and then every `beat`, and is succeeded after
  /// a silence of `leaseSeconds`.
  public init(beat: TimeSpan, leaseSeconds: Double, at now: MonotonicTime) {
    self.beat = beat
    claimsFor = .seconds(max(leaseSeconds - beat.seconds - Limits.beatGrace.seconds, leaseSeconds / 2))
    (lastSent, lastHeard, lastLook, wanted) = (now, now, now, now)
  }

  /// When the next beat is to be sent by a worker that has been at rest since the last one, or has not.
  public func due(isAtRest: Bool) -> MonotonicTime {
    let soon = early(beat)
    guard isAtRest else { return min(wanted, lastSent + soon) }
    let rest = early(TimeSpan(nanoseconds: beat.nanoseconds * Limits.restBeats))
    return min(wanted, lastSent + rest, max(lastSent, lastLook) + soon)
  }

  /// A beat is sent. The next comes up to a tenth earlier than it must, by `share` of that, so that not all come at
  /// once.
  public mutating func sent(isAtRest: Bool, share: Double, at now: MonotonicTime) -> Notice {
    lastSent = now
    wanted = .never
    earlyShare = share / 10
    return Notice(
      promisedSeconds: beat.seconds * (isAtRest ? Double(Limits.restBeats) : 1), looksForAll: isAtRest)
  }

  /// The last beat was answered.
  public mutating func answered() { lastHeard = lastSent }

  /// A beat is wanted at `time`.
  public mutating func order(at time: MonotonicTime) { wanted = min(wanted, time) }

  /// Somebody has looked on behalf of all.
  public mutating func othersLooked(at now: MonotonicTime) { lastLook = now }

  /// Whether this worker can be sure that others do not take it for dead.
  public func mayClaim(at now: MonotonicTime) -> Bool { now.since(lastHeard) < claimsFor }

  private func early(_ span: TimeSpan) -> TimeSpan { .seconds(span.seconds * (1 - earlyShare)) }
}
