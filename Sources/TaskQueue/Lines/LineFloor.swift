import Basics

/// Where looks into a line start. While an old snapshot elsewhere, of a backup for instance, keeps dead rows from being
/// removed, a look walks over all of those behind its start.
///
/// Places are given out in order and taken in order, so below the first place of a look there is only what was not
/// committed yet, or was held by others, be it that they gave it back or took a part. Looks in a row start there. One
/// that must find all that is committed starts where looks started a second or more ago: below that there is only what
/// took longer to be committed. For that one looks at everything every now and then, and once more when whoever looks
/// has gone to sleep.
struct LineFloor: Sendable {
  private var line = Line()
  private var sweep: Sweep

  /// A floor of which nothing is known; at everything one looks once in `sweepPause`.
  init(sweepPause: TimeSpan) {
    sweep = Sweep(pause: sweepPause)
  }

  /// When everything is to be looked at although whoever looks sleeps; nil if the last look did so.
  var sweepDue: MonotonicTime? { sweep.due }

  /// The start of a look at `now`, which must find all that is committed if it `findsAll`.
  mutating func start(findsAll: Bool, at now: MonotonicTime) -> Int64 {
    let start = sweep.isDue(at: now) ? 0 : line.start(findsAll: findsAll)
    sweep.looked(at: now, isWhole: start == 0)
    return start
  }

  /// A look has come back at `now`, and `first` was its first place.
  mutating func found(from first: Int64, at now: MonotonicTime) { line.found(from: first, at: now) }

  /// Nothing is certain any more.
  mutating func forget() { self = LineFloor(sweepPause: sweep.pause) }
}

extension LineFloor {
  /// What is known of one line.
  struct Line: Sendable {
    /// The first place of the last look, and what that was a second or more ago.
    private var near: Int64 = 0
    private var far: Int64 = 0
    /// What becomes `far`, and since when it is known.
    private var next: Int64 = 0
    private var nextSince = MonotonicTime(nanoseconds: 0)

    func start(findsAll: Bool) -> Int64 { findsAll ? far : near }

    mutating func found(from first: Int64, at now: MonotonicTime) {
      near = first
      guard now.since(nextSince) >= Limits.floorAge else { return }
      far = next
      next = first
      nextSince = now
    }
  }

  /// When everything is looked at.
  struct Sweep: Sendable {
    let pause: TimeSpan
    private var at = MonotonicTime(nanoseconds: 0)
    private var wasWhole = false

    init(pause: TimeSpan) {
      self.pause = pause
    }

    /// When everything is to be looked at next; nil if the last look did so.
    var due: MonotonicTime? { wasWhole ? nil : at }

    func isDue(at now: MonotonicTime) -> Bool { now >= at }

    mutating func looked(at now: MonotonicTime, isWhole: Bool) {
      wasWhole = isWhole
      if isWhole { at = now + pause }
    }
  }
}
