public import Basics

/// When a worker is taken for dead: all decisions, no I/O.
///
/// Two things speak for a death: nobody holds the worker's lock, because its session is gone, or it has given no sign
/// of life when a beat was due. One alone proves little: a session may break for half a second while the worker
/// computes on, and a machine may be slow. Together they do. A worker that is only silent is given the whole time of a
/// lease, but is not notified any more.
///
/// After an outage all of them are late. Who was itself cut off, looks at a server that has just started, was stopped
/// for a while, or sees that one of the two clocks has jumped, waits until the others have had time to come back. That
/// PostgreSQL is slow is no such reason: its answers come late, and what they say holds all the same.
public struct TakeOverPolicy: Sendable {
  /// Another worker that there is something to say about.
  public struct Suspect: Sendable, Equatable {
    /// Its id.
    public let worker: Int64
    /// How often it has said that it lives.
    let beats: Int64
    /// How long ago its last sign of life was, by PostgreSQL's clock.
    let silentSeconds: Double
    /// In how many seconds after a beat it beats again at the latest.
    let promisedSeconds: Double
    /// Whether nobody holds its lock.
    let isSessionGone: Bool

    /// A suspect; see the properties.
    public init(worker: Int64, beats: Int64, silentSeconds: Double, promisedSeconds: Double, isSessionGone: Bool) {
      self.worker = worker
      self.beats = beats
      self.silentSeconds = silentSeconds
      self.promisedSeconds = promisedSeconds
      self.isSessionGone = isSessionGone
    }
  }

  /// What is to be done.
  public struct Verdict: Sendable, Equatable {
    /// Those to take over from.
    public var dead: [Suspect] = []
    /// Those that are not to be notified.
    var mute: [Suspect] = []
    /// After how long to look again, if that is before the next beat.
    public var looksAgainAfter: TimeSpan?
  }

  private let beat: TimeSpan
  private let leaseSeconds: Double
  /// When the last beat that was answered was sent and when it was answered, and PostgreSQL's clock between the two.
  private var last: (sent: MonotonicTime, answered: MonotonicTime, clockSeconds: Double)?
  private var sentAt = MonotonicTime(nanoseconds: 0)
  private var wasCutOff = false
  private var judgesFrom = MonotonicTime(nanoseconds: 0)

  /// The policy of a worker that beats every `beat`, as all others do that work, and calls a silence of `leaseSeconds`
  /// death.
  public init(beat: TimeSpan, leaseSeconds: Double) {
    self.beat = beat
    self.leaseSeconds = leaseSeconds
  }

  /// How old the last sign of life is when a beat has certainly been missed.
  private var missedSeconds: Double { beat.seconds + Limits.beatGrace.seconds }

  /// This worker's own beat is sent, which could have been sent at `sendable`.
  public mutating func sent(sendable: MonotonicTime, at now: MonotonicTime) {
    sentAt = now
    // While the last answer was awaited nothing else could be sent.
    let earliest = max(sendable, last?.answered ?? sendable)
    if now > earliest, now.since(earliest) > Limits.beatGrace { wasCutOff = true }
  }

  /// It was not answered.
  public mutating func failed() { wasCutOff = true }

  /// It was answered with `suspects` when the server's clock stood at `clockSeconds`, by a server that has been up for
  /// `serverSeconds`.
  public mutating func answered(
    _ suspects: [Suspect], clockSeconds: Double, serverSeconds: Double, at now: MonotonicTime
  ) -> Verdict {
    if last == nil {
      // Whoever has just come cannot know whether all others were cut off until now: it waits for a beat of theirs.
      judgesFrom = now + .seconds(missedSeconds)
    } else if wasCutOff || clocksJumped(clockSeconds, at: now) {
      judgesFrom = now + Limits.settling
    }
    wasCutOff = false
    last = (sentAt, now, clockSeconds)
    var verdict = Verdict()
    let settles = max(
      now < judgesFrom ? judgesFrom.since(now).seconds : 0, Limits.settling.seconds - serverSeconds)
    guard settles <= 0 else {
      if !suspects.isEmpty { verdict.looksAgainAfter = .seconds(settles) }
      return verdict
    }
    var again = Double.infinity
    for suspect in suspects {
      if suspect.silentSeconds >= leaseSeconds || suspect.silentSeconds >= missedSeconds && suspect.isSessionGone {
        verdict.dead.append(suspect)
      } else if suspect.silentSeconds >= suspect.promisedSeconds + Limits.beatGrace.seconds {
        verdict.mute.append(suspect)
      } else if suspect.isSessionGone {
        again = min(again, missedSeconds - suspect.silentSeconds)
      }
    }
    if again.isFinite { verdict.looksAgainAfter = .seconds(again + 0.01) }
    return verdict
  }

  /// Whether PostgreSQL's clock has gone on by more or less than ours since the last answer. A machine that was
  /// suspended looks like that: the clock of its processes stands meanwhile.
  private func clocksJumped(_ clockSeconds: Double, at now: MonotonicTime) -> Bool {
    guard let last else { return false }
    let passed = clockSeconds - last.clockSeconds
    let least = sentAt > last.answered ? sentAt.since(last.answered).seconds : 0
    let most = now.since(last.sent).seconds
    return passed < least - Limits.beatGrace.seconds || passed > most + Limits.beatGrace.seconds
  }
}
