public import Basics

/// When a worker is taken for dead: all decisions, no I/O.
///
/// Two things speak for a death: nobody holds the worker's lock, because its session is gone, or its beat is late. One
/// alone proves little: a session may break for half a second while the worker computes on, and a machine may be slow.
/// Together they do. A worker that is only silent is given the whole time of a lease, but is not notified any more.
///
/// After an outage all of them are late. Who was itself cut off, or looks at a server that has just started, waits
/// until the others have had time to come back.
public struct TakeOverPolicy: Sendable {
  /// Another worker that there is something to say about.
  public struct Suspect: Sendable, Equatable {
    /// Its id.
    public let worker: Int64
    /// How often it has said that it lives.
    let beats: Int64
    /// How long ago that was last, by PostgreSQL's clock.
    let silentSeconds: Double
    /// Whether nobody holds its lock.
    let isSessionGone: Bool

    /// A suspect; see the properties.
    public init(worker: Int64, beats: Int64, silentSeconds: Double, isSessionGone: Bool) {
      self.worker = worker
      self.beats = beats
      self.silentSeconds = silentSeconds
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
  private var lastBeat: MonotonicTime?
  private var judgesFrom = MonotonicTime(nanoseconds: 0)

  /// The policy of a worker that beats every `beat`, as all others do, and calls a silence of `leaseSeconds` death.
  public init(beat: TimeSpan, leaseSeconds: Double) {
    self.beat = beat
    self.leaseSeconds = leaseSeconds
  }

  /// How old the last beat is when one has certainly been missed.
  private var missedSeconds: Double { beat.seconds + Limits.beatGrace.seconds }

  /// This worker's own beat has been answered, by a server that has been up for `serverSeconds`, with `suspects`.
  public mutating func answered(_ suspects: [Suspect], serverSeconds: Double, at now: MonotonicTime) -> Verdict {
    if let lastBeat {
      if now.since(lastBeat).seconds > missedSeconds { judgesFrom = now + Limits.settling }
    } else {
      // Whoever has just come cannot know whether all others were cut off until now: it waits for a beat of theirs.
      judgesFrom = now + .seconds(missedSeconds)
    }
    lastBeat = now
    var verdict = Verdict()
    guard now >= judgesFrom, serverSeconds >= Limits.settling.seconds else {
      if now < judgesFrom, !suspects.isEmpty { verdict.looksAgainAfter = judgesFrom.since(now) }
      return verdict
    }
    var again = Double.infinity
    for suspect in suspects {
      let isLate = suspect.silentSeconds >= missedSeconds
      if suspect.silentSeconds >= leaseSeconds || isLate && suspect.isSessionGone {
        verdict.dead.append(suspect)
      } else if isLate {
        verdict.mute.append(suspect)
      } else if suspect.isSessionGone {
        again = min(again, missedSeconds - suspect.silentSeconds)
      }
    }
    if again.isFinite { verdict.looksAgainAfter = .seconds(again + 0.01) }
    return verdict
  }
}
