import Basics

/// When a worker runs one task and nothing beside it: all decisions, no I/O.
///
/// A task whose workers were lost at all its attempts but one would fail with the next worker that is lost, whatever
/// ended that. So nothing runs beside its last attempt. As long as something does it is not claimed: with a lease it
/// would be lost with its worker. First the slots whose tasks take long claim nothing more, and only when they are
/// empty the quick ones, which is a matter of milliseconds:
///
///     a last attempt waits ─► slow slots empty ─► all slots empty ─► claimed and run, one after the other ─► others
///
/// One worker of all makes room at a time, or nobody would do anything else; but one that has nothing to do need not
/// wait for another that has to make room first.
///
/// Where a task takes too long for that, last attempts are run beside it; one that takes long itself gets company after
/// a while; and where there are many, the others get as much time between them as those have had.
struct SoleRun {
  private enum Phase: Equatable {
    case none
    case clearingSlow
    /// Of the slow slots, some may take too long to be waited for.
    case clearingAll(ignoresSlow: Bool)
    case alone
  }

  private var phase = Phase.none
  private var began = MonotonicTime(nanoseconds: 0)
  private var aloneFrom = MonotonicTime(nanoseconds: 0)
  private var nextFrom = MonotonicTime(nanoseconds: 0)
  /// When the slots that are waited for have had their time.
  private(set) var due = MonotonicTime(nanoseconds: 0)
  /// Slots that have claimed, or are about to, by whether their tasks take long.
  private var occupied = (slow: 0, quick: 0)

  /// Whether slots whose tasks take long, or the quick ones, are to claim nothing.
  func holdsBack(slow: Bool) -> Bool {
    switch phase {
    case .none: false
    case .clearingSlow: slow
    case .clearingAll, .alone: true
    }
  }

  /// Whether last attempts may be claimed.
  var isAlone: Bool { phase == .alone }

  /// Whether the others are to have their turn, although there may be more last attempts.
  func isTiring(at now: MonotonicTime) -> Bool { isAlone && now.since(aloneFrom) >= Limits.soleRunMax }

  /// A slot is about to claim.
  mutating func slotOccupied(slow: Bool) {
    if slow { occupied.slow += 1 } else { occupied.quick += 1 }
  }

  /// It holds nothing any more. Returns whether it was the last one that was waited for.
  mutating func slotEmptied(slow: Bool, at now: MonotonicTime) -> Bool {
    if slow { occupied.slow -= 1 } else { occupied.quick -= 1 }
    guard phase != .alone else { return false }
    look(at: now)
    return isAlone
  }

  /// Until when the others are to be left in peace; nil if they have had their time.
  func pause(at now: MonotonicTime) -> MonotonicTime? { phase == .none && now < nextFrom ? nextFrom : nil }

  /// Whether nothing runs, and no room has to be made.
  var isEmpty: Bool { occupied.slow + occupied.quick == 0 }

  /// Another worker makes room for it: it is looked after that a while later.
  mutating func leave(at now: MonotonicTime) { nextFrom = now + Limits.soleRunPauseMin }

  /// A last attempt waits.
  mutating func begin(at now: MonotonicTime) {
    precondition(phase == .none, "one at a time")
    (began, due, phase) = (now, now + Limits.clearingMax, .clearingSlow)
    look(at: now)
  }

  /// What is waited for has had its time if it is `due`.
  mutating func timePassed(at now: MonotonicTime) {
    guard now >= due else { return }
    switch phase {
    case .none, .alone: return
    case .clearingSlow:
      (phase, due) = (.clearingAll(ignoresSlow: true), now + Limits.quickClearingMax)
      look(at: now)
    case .clearingAll: (phase, aloneFrom) = (.alone, now)
    }
  }

  /// It is over, has had its time alone, or is not wanted any more.
  mutating func end(at now: MonotonicTime) {
    phase = .none
    // What waits may be held up by something else: that is not asked for all the time.
    nextFrom = now + max(now.since(began), Limits.soleRunPauseMin)
  }

  private mutating func look(at now: MonotonicTime) {
    if phase == .clearingSlow, occupied.slow == 0 {
      (phase, due) = (.clearingAll(ignoresSlow: false), now + Limits.quickClearingMax)
    }
    guard case .clearingAll(let ignoresSlow) = phase, occupied.quick == 0, ignoresSlow || occupied.slow == 0 else {
      return
    }
    (phase, aloneFrom) = (.alone, now)
  }
}
