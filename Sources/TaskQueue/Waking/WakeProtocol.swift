/// When the slots of one group in one worker process may sleep, and who is woken: all decisions, no I/O.
///
/// A process whose slots are about to sleep puts an *idle row* into the database. Whoever submits a task looks for such
/// rows after its commit, takes one away and notifies the worker that it belonged to. So a slot may sleep only after a
/// claim that found nothing and was sent when its row was in place: what was submitted before is in reach of that
/// claim, and whoever submits later sees the row.
///
///     submitter            commit task ─► take a row, notify its worker
///     slot       announce row ─► claim ─┬─ nothing, row still there ─► sleep ─► notified ─► claim …
///                                       └─ tasks ─► compute ─► complete and claim …
///
/// Rows bear a number that grows with each announcement. A notification names the row it took and a withdrawal the
/// newest that it may take, so news that comes late, or two statements that overtake each other on two connections,
/// cannot be mistaken for news of a newer row.
///
/// Three rules keep a task from waiting beside a slot that sleeps:
///
/// 1. A claim that came back full wakes one more: there may be more to take.
/// 2. When the last slot of the process goes to work, the row is withdrawn: it would swallow a notification.
/// 3. Who was notified all the same, and has nobody to send, passes the word on to another worker (`relay`).
///
/// Each event returns a `Step`. The runner performs it, and what came of it is the next event.
public struct WakeProtocol: Sendable {
  /// Idle rows by their numbers: those above the one up to the other.
  public struct Rows: Sendable, Equatable {
    /// The newest that is known to be away, and with it those before: but for one whose announcement was given up and
    /// took effect late. It stands until its worker is told once in vain, which passes the word on.
    public let above: Int
    /// The newest of them.
    public let upTo: Int
  }

  /// A claim to be sent, to be handed back when it is over.
  public struct Claim: Sendable, Equatable {
    /// The row to put in place, committed, before the claim looks: the newest of these, in the place of all others.
    /// Nil: none.
    public let announces: Rows?
    /// Whether it must look at all tasks rather than at those behind the last claim: always so before a sleep. One that
    /// took longer than a second to be committed may be passed over, if a claim that looks at everything comes a second
    /// later: see the caller.
    public let fromStart: Bool
    /// The row that stood or was put in place when the claim was sent.
    let row: Int?
    let news: Int
    let owed: Int
  }

  /// What a slot does next.
  public enum Order: Sendable, Equatable {
    /// Send this claim.
    case claim(Claim)
    /// Compute what was claimed.
    case compute
    /// Give back what was claimed: the worker stops.
    case release
    /// Wait a moment and then ask for a claim: tasks flow, and sleeping would cost more than it saves.
    case rest
    /// Sleep until woken and then ask for a claim.
    case sleep
    /// The worker stops; there is nothing left to do.
    case leave
  }

  /// What follows from an event, besides the order to the slot that it is about.
  public struct Step: Sendable, Equatable {
    /// What the slot does next; nil if the event was about no slot.
    public var order: Order?
    /// How many sleeping slots to wake, those that have slept longest first.
    public var wakes = 0
    /// The idle rows to take away.
    public var withdraws: Rows?
    /// Tasks that others have to be told of.
    public var relays = 0
  }

  /// How long a slot stays awake when tasks come in a flow.
  public struct Flow: Sendable {
    let tasksMin: Int
    let restsMax: Int

    /// After `tasksMin` tasks since it slept a slot rests up to `restsMax` times in a row before it goes to sleep.
    public init(tasksMin: Int, restsMax: Int) {
      self.tasksMin = tasksMin
      self.restsMax = restsMax
    }

    /// Slots that go to sleep at once.
    public static let none = Flow(tasksMin: 0, restsMax: 0)
  }

  private let flow: Flow
  private let slots: Int
  private var asleep = 0
  private var busy = 0
  /// Slots that have left, for the worker stops, or are held back from claiming.
  public private(set) var absent = 0
  /// The newest row that was sent, that is known to have been committed, that must not be relied on any more, and that
  /// is known to be away: never `rowGone > rowDoubted`.
  private var rowSent = 0
  private var rowSeen = 0
  private var rowDoubted = 0
  private var rowGone = 0
  /// Whether a row is on its way. One at a time: two that were put in place at once over two connections would not see
  /// each other, and the older one would stay.
  private var isAnnouncing = false
  /// The newest row that a withdrawal under way takes with it.
  private var rowWithdrawn = 0
  /// Grows with everything that tells of new tasks: a claim sent before proves nothing about them.
  private var news = 0
  /// Tasks that this process was told of and that no claim sent since then can have seen.
  private var owed = 0
  private var isListening = false
  private var isStopping = false

  /// The protocol of `slots` slots, all of them awake, in a process that does not listen yet.
  public init(slots: Int, flow: Flow = .none) {
    self.slots = slots
    self.flow = flow
  }

  /// How many slots sleep.
  public var sleepers: Int { asleep }

  /// Whether an idle row of this process may stand although none of its slots sleeps or is about to.
  var leavesRowBehind: Bool { busy + absent == slots && rowSent > rowGone }

  /// A slot is awake and has nothing to do: at its start, after computing, after a rest, after it was woken.
  public mutating func slotFree() -> Step {
    if isStopping { return leave() }
    return Step(order: .claim(claim(beforeSleep: false)))
  }

  /// A slot has computed what it claimed.
  public mutating func computed() {
    busy -= 1
  }

  /// A claim is back.
  /// - Parameters:
  ///   - found: how many tasks it brought.
  ///   - isFull: whether that is as many as it asked for.
  ///   - isAnnounced: whether its row is in place; a claim that found nothing without it has failed.
  ///   - fromStart: whether it looked at all tasks.
  ///   - tasks, rests: what the slot has claimed since it slept, and how often it has rested in a row.
  public mutating func claimCameBack(
    _ claim: Claim, found: Int, isFull: Bool, isAnnounced: Bool, fromStart: Bool, tasks: Int = 0, rests: Int = 0
  ) -> Step {
    if let row = claim.announces?.upTo, isAnnounced { rowSeen = max(rowSeen, row) }
    announcementEnded(of: claim)
    if found > 0 { return took(isFull: isFull) }
    if isStopping { return leave() }
    if fromStart, isListening, claim.news == news, let row = claim.row, row > rowDoubted {
      asleep += 1
      return Step(order: .sleep)
    }
    if flow.restsMax > 0, tasks >= flow.tasksMin, rests < flow.restsMax, claim.row == nil {
      return Step(order: .rest)
    }
    // Nobody would tell of anything: look again and again, with pauses.
    if !isListening, fromStart { return Step(order: .rest) }
    return Step(order: .claim(self.claim(beforeSleep: true)))
  }

  /// A claim failed; whether its row is in place and whether it took tasks is not known. The slot asks for another.
  public mutating func claimFailed(_ claim: Claim) -> Step {
    owed += claim.owed
    announcementEnded(of: claim)
    return isStopping ? settled(Step()) : Step()
  }

  /// A slot that is awake claims nothing until it is admitted again, because people want that. What it was to look for
  /// is for others.
  public mutating func heldBack() -> Step {
    absent += 1
    // It may have been woken by another one whose claim came back full.
    owed += 1
    var step = Step()
    wake(owed, &step)
    return settled(step)
  }

  /// A slot that was held back may claim again; it asks for an order next.
  public mutating func admitted() { absent -= 1 }

  /// Somebody took the idle row `row` away because `tasks` tasks wait for this group.
  public mutating func notified(tasks: Int, row: Int) -> Step {
    isAway(row)
    news += 1
    owed += max(0, tasks)
    var step = Step()
    if !isStopping { wake(owed, &step) }
    return settled(step)
  }

  /// There may be tasks that nobody tells of; all processes hear this.
  public mutating func lookOrdered() -> Step {
    news += 1
    var step = Step()
    wake(asleep, &step)
    return step
  }

  /// The withdrawal of rows up to `row` is committed; or it failed, and the row may stand.
  public mutating func withdrawn(_ row: Int, succeeded: Bool) -> Step {
    if succeeded { isAway(row) } else { rowWithdrawn = min(rowWithdrawn, row - 1) }
    return succeeded ? Step() : settled(Step())
  }

  /// Notifications do not arrive any more, and some may be lost.
  public mutating func connectionLost() -> Step {
    isListening = false
    rowDoubted = rowSent
    return Step()
  }

  /// Notifications arrive again; everybody looks at what was missed, or others do if all are at work.
  public mutating func listening() -> Step {
    isListening = true
    rowDoubted = rowSent
    owed += 1
    return settled(lookOrdered())
  }

  /// The worker is to stop: sleeping slots leave, and tasks that slots were woken for are for others.
  public mutating func stopOrdered() -> Step {
    isStopping = true
    // One of the slots may have been woken by another one whose claim came back full, and will not look any more.
    owed += 1
    var step = Step()
    wake(asleep, &step)
    return settled(step)
  }

  /// The claim that a free slot sends.
  private mutating func claim(beforeSleep: Bool) -> Claim {
    let standing = rowSeen > rowDoubted ? rowSeen : nil
    var announces: Rows?
    // Slots that sleep without a row need one as well: whoever took it has woken only as many as there are tasks.
    if isListening, standing == nil, !isAnnouncing, beforeSleep || asleep > 0 {
      // Always a new number: a row that is put in place again must not be taken for the one that went before.
      rowSent += 1
      announces = Rows(above: rowGone, upTo: rowSent)
      isAnnouncing = true
    }
    let owed = self.owed
    self.owed = 0
    return Claim(
      announces: announces, fromStart: beforeSleep || asleep > 0 || owed > 0, row: announces?.upTo ?? standing,
      news: news, owed: owed)
  }

  private mutating func took(isFull: Bool) -> Step {
    if isStopping { return Step(order: .release) }
    busy += 1
    var step = Step(order: .compute)
    if isFull {
      if asleep > 0 { wake(1, &step) } else { step.relays = 1 }
    }
    return settled(step)
  }

  private mutating func leave() -> Step {
    absent += 1
    return settled(Step(order: .leave))
  }

  /// The row `row` is away, and with it those before.
  private mutating func isAway(_ row: Int) {
    rowGone = max(rowGone, row)
    rowDoubted = max(rowDoubted, row)
  }

  /// The next row may be put in place. This one may have come after the statement that took newer ones away.
  private mutating func announcementEnded(of claim: Claim) {
    guard let row = claim.announces?.upTo else { return }
    isAnnouncing = false
    rowGone = min(rowGone, row - 1)
    rowWithdrawn = min(rowWithdrawn, row - 1)
  }

  private mutating func wake(_ count: Int, _ step: inout Step) {
    let woken = min(count, asleep)
    asleep -= woken
    step.wakes += woken
  }

  /// If nobody here will claim soon, what is owed goes to others, and no row stays behind.
  private mutating func settled(_ step: Step) -> Step {
    var step = step
    let isNobodyComing = isStopping || busy + absent == slots
    if owed > 0, isNobodyComing {
      step.relays = max(step.relays, owed)
      owed = 0
    }
    if isNobodyComing, rowSent > rowGone, rowWithdrawn < rowSent {
      rowWithdrawn = rowSent
      rowDoubted = rowSent
      step.withdraws = Rows(above: rowGone, upTo: rowSent)
    }
    return step
  }
}
