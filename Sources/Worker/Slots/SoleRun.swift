import Basics

/// When a worker runs one task and nothing beside it: all decisions, no I/O.
///
/// A task whose workers were lost at all its attempts but one would fail with the next worker that is lost, whatever
/// ended that. So nothing runs beside its last attempt. First the slots whose tasks take long claim nothing more, and
/// only when they are empty the quick ones, which is a matter of milliseconds:
///
///     last attempt claimed ─► given back ─► slow slots empty ─► all slots empty ─► claimed again and run ─► others
///
/// Where a task takes too long for that, the last attempt is run beside it; where the last attempt itself takes long,
/// the others come in beside it after a while; and where there are many, the others get as much time between them as
/// those have had.
struct SoleRun {
  private enum Phase: Equatable {
    case none
    case clearingSlow
    case clearingAll
    case alone
  }

  private var phase = Phase.none
  private var began = MonotonicTime(nanoseconds: 0)
  private var nextFrom = MonotonicTime(nanoseconds: 0)
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

  /// Whether a last attempt may be run.
  var isAlone: Bool { phase == .alone }

  /// A slot is about to claim.
  mutating func slotOccupied(slow: Bool) {
    if slow { occupied.slow += 1 } else { occupied.quick += 1 }
  }

  /// It holds nothing any more. Returns whether it was the last one that was waited for.
  mutating func slotEmptied(slow: Bool) -> Bool {
    if slow { occupied.slow -= 1 } else { occupied.quick -= 1 }
    return look()
  }

  /// Until when the others are to be left in peace; nil if they have had their time.
  func pause(at now: MonotonicTime) -> MonotonicTime? { now < nextFrom ? nextFrom : nil }

  /// A last attempt is to be run. Returns until when to wait for the others at the most; nil if there are none.
  mutating func begin(at now: MonotonicTime) -> MonotonicTime? {
    precondition(phase == .none, "one at a time")
    began = now
    phase = .clearingSlow
    return look() ? nil : now + Limits.clearingMax
  }

  /// The wait is over, and it is run, whatever runs beside it. Returns until when it is alone at the most.
  mutating func run(at now: MonotonicTime) -> MonotonicTime {
    phase = .alone
    return now + Limits.soleRunMax
  }

  /// It is over, or has had its time alone.
  mutating func end(at now: MonotonicTime) {
    phase = .none
    nextFrom = now + now.since(began)
  }

  private mutating func look() -> Bool {
    if phase == .clearingSlow, occupied.slow == 0 { phase = .clearingAll }
    guard phase == .clearingAll, occupied.slow == 0, occupied.quick == 0 else { return false }
    phase = .alone
    return true
  }
}
