import Basics

/// Where a slot's claims start in the line. While an old snapshot elsewhere, of a backup for instance, keeps dead rows
/// from being removed, a claim walks over all of those behind its start.
///
/// Places are given out in order and claimed in order, so below the first place of a claim there is only what was not
/// committed yet. Claims in a row start there. One that must find all that is committed starts where claims started a
/// second or more ago: below that there is only what took longer to be committed. For that one looks at everything
/// once a second, and once more when the slot has gone to sleep.
struct ClaimFloor {
  /// The first place of the last claim, and what that was a second or more ago.
  private var near: Int64 = 0
  private var far: Int64 = 0
  /// What becomes `far`, and since when it is known.
  private var next: Int64 = 0
  private var nextSince = MonotonicTime(nanoseconds: 0)
  private var sweepsAt = MonotonicTime(nanoseconds: 0)
  private var hasSwept = false

  /// When everything is to be looked at although the slot sleeps; nil if its last claim did so.
  var sweepDue: MonotonicTime? { hasSwept ? nil : sweepsAt }

  /// The start of a claim that is sent at `now`, and that must find all that is committed if it `findsAll`.
  mutating func start(findsAll: Bool, at now: MonotonicTime) -> Int64 {
    let start = now >= sweepsAt ? 0 : findsAll ? far : near
    hasSwept = start == 0
    if hasSwept { sweepsAt = now + Limits.sweepPause }
    return start
  }

  /// A claim has come back at `now`, and `first` was its first place.
  mutating func claimed(from first: Int64, at now: MonotonicTime) {
    near = first
    guard now.since(nextSince) >= Limits.floorAge else { return }
    far = next
    next = first
    nextSince = now
  }

  /// Nothing is certain any more.
  mutating func forget() { self = ClaimFloor() }
}
