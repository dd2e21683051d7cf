public import Basics

/// Where looks into a line start. While an old snapshot elsewhere, of a backup for instance, keeps dead rows from being
/// removed, a look walks over all of those behind its start.
///
/// Places are given out in order and taken in order, so below the first place of a look there is only what was not
/// committed yet. Looks in a row start there. One that must find all that is committed starts where looks started a
/// second or more ago: below that there is only what took longer to be committed. For that one looks at everything
/// every now and then, and once more when whoever looks has gone to sleep.
public struct LineFloor: Sendable {
  private let sweepPause: TimeSpan
  /// The first place of the last look, and what that was a second or more ago.
  private var near: Int64 = 0
  private var far: Int64 = 0
  /// What becomes `far`, and since when it is known.
  private var next: Int64 = 0
  private var nextSince = MonotonicTime(nanoseconds: 0)
  private var sweepsAt = MonotonicTime(nanoseconds: 0)
  private var hasSwept = false

  /// A floor of which nothing is known; at everything one looks once in `sweepPause`.
  public init(sweepPause: TimeSpan) {
    self.sweepPause = sweepPause
  }

  /// When everything is to be looked at although whoever looks sleeps; nil if the last look did so.
  public var sweepDue: MonotonicTime? { hasSwept ? nil : sweepsAt }

  /// The start of a look at `now`, which must find all that is committed if it `findsAll`.
  public mutating func start(findsAll: Bool, at now: MonotonicTime) -> Int64 {
    let start = now >= sweepsAt ? 0 : findsAll ? far : near
    hasSwept = start == 0
    if hasSwept { sweepsAt = now + sweepPause }
    return start
  }

  /// A look has come back at `now`, and `first` was its first place.
  public mutating func found(from first: Int64, at now: MonotonicTime) {
    near = first
    guard now.since(nextSince) >= Limits.floorAge else { return }
    far = next
    next = first
    nextSince = now
  }

  /// Nothing is certain any more.
  public mutating func forget() { self = LineFloor(sweepPause: sweepPause) }
}
