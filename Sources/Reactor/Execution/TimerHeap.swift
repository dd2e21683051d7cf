public import Basics

/// A point in time at which a handler is called. Made once by its owner and armed again and again.
///
/// Moving the deadline of an armed timer to a later time costs one store: the heap finds out when the earlier time
/// comes. So a connection can push its idle deadline with every request for nothing.
public final class ReactorTimer {
  private unowned let handler: EventHandler
  /// Keeps the handler alive while the timer is armed.
  fileprivate var armed: EventHandler?
  /// When the handler is called; `never` while disarmed.
  public fileprivate(set) var deadline = MonotonicTime.never
  /// The time this timer is sorted under: never later than `deadline`.
  fileprivate var sortedBy = MonotonicTime.never
  fileprivate var position = -1

  /// A disarmed timer for `handler`, which owns it. While the timer is armed it keeps its handler alive, so a handler
  /// that is done cancels its timers.
  public init(_ handler: EventHandler) {
    self.handler = handler
  }

  fileprivate func hold() { armed = handler }

  /// Whether the timer will fire.
  public var isArmed: Bool { deadline != .never }
}

/// The armed timers of a reactor, a binary heap by time.
struct TimerHeap {
  private var timers: [ReactorTimer] = []

  var count: Int { timers.count }

  /// A time before which nothing is due, nil if nothing is armed.
  var earliest: MonotonicTime? { timers.first?.sortedBy }

  mutating func arm(_ timer: ReactorTimer, at deadline: MonotonicTime) {
    if deadline == .never { return cancel(timer) }
    timer.deadline = deadline
    if timer.position < 0 {
      timer.hold()
      timer.sortedBy = deadline
      timer.position = timers.count
      timers.append(timer)
      siftUp(timer.position)
    } else if deadline < timer.sortedBy {
      timer.sortedBy = deadline
      siftUp(timer.position)
    }
  }

  mutating func cancel(_ timer: ReactorTimer) {
    timer.deadline = .never
    guard timer.position >= 0 else { return }
    remove(at: timer.position)
  }

  /// Takes out one timer that is due at `now`, with its handler; those that were moved to a later time are sorted anew
  /// on the way.
  mutating func popDue(_ now: MonotonicTime) -> (timer: ReactorTimer, handler: EventHandler)? {
    while let first = timers.first, first.sortedBy <= now {
      // One that was moved to a later time is due behind whatever was due before that.
      if first.deadline == first.sortedBy {
        let handler = first.armed!
        remove(at: 0)
        first.deadline = .never
        return (first, handler)
      }
      first.sortedBy = first.deadline
      siftDown(0)
    }
    return nil
  }

  private mutating func remove(at position: Int) {
    let timer = timers[position]
    timer.position = -1
    timer.armed = nil
    let last = timers.removeLast()
    guard last !== timer else { return }
    timers[position] = last
    last.position = position
    siftUp(position)
    siftDown(last.position)
  }

  private mutating func siftUp(_ start: Int) {
    var child = start
    while child > 0 {
      let parent = (child - 1) / 2
      if timers[parent].sortedBy <= timers[child].sortedBy { return }
      exchange(parent, child)
      child = parent
    }
  }

  private mutating func siftDown(_ start: Int) {
    var parent = start
    while true {
      var least = parent
      for child in (2 * parent + 1)...(2 * parent + 2)
      where child < timers.count && timers[child].sortedBy < timers[least].sortedBy { least = child }
      if least == parent { return }
      exchange(parent, least)
      parent = least
    }
  }

  private mutating func exchange(_ a: Int, _ b: Int) {
    timers.swapAt(a, b)
    timers[a].position = a
    timers[b].position = b
  }
}
