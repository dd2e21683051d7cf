/// The slowest at which a peer may give or take bytes: so many at least within each span of time. What it did before
/// counts for nothing, so that who sends a lot at once cannot be silent for long behind it.
public struct Pace: Sendable {
  /// Bytes after which a new span begins.
  static let stepBytes = 10 << 10

  /// When the present span began.
  public private(set) var since: MonotonicTime
  /// What was given in it; of a peer that takes: what it had not taken at its beginning.
  private var bytes: UInt32

  /// The pace of a peer that gives, whose first span begins at `start`.
  public init(from start: MonotonicTime) {
    since = start
    bytes = 0
  }

  /// The pace of a peer that takes, and has `untaken` bytes before it.
  public init(from start: MonotonicTime, untaken: Int) {
    since = start
    bytes = UInt32(clamping: untaken)
  }

  /// For `span` the peer could not have given anything.
  public mutating func rested(for span: TimeSpan) {
    since = since + span
  }

  /// `amount` bytes were given at `now`.
  public mutating func gave(_ amount: Int, at now: MonotonicTime) {
    bytes += UInt32(min(amount, Pace.stepBytes))
    if bytes >= Pace.stepBytes { self = Pace(from: now) }
  }

  /// At `now` there are `untaken` bytes left; whether enough of them went for a new span to begin.
  public mutating func left(_ untaken: Int, at now: MonotonicTime) -> Bool {
    guard untaken + Pace.stepBytes <= Int(bytes) else { return false }
    self = Pace(from: now, untaken: untaken)
    return true
  }
}
