public import Basics

/// A wait of one task, until somebody ends it or its deadline passes.
public final class Pause: EventHandler {
  private var waiter: UnsafeContinuation<Bool, Never>?
  private lazy var timer = ReactorTimer(self)

  /// A pause in which nobody waits yet.
  public override init() {}

  /// Whether a task waits.
  var isAwaited: Bool { waiter != nil }

  /// Suspends the calling task; only one may wait at a time.
  /// - Returns: whether `end` was called before `deadline`.
  @discardableResult
  public func wait(until deadline: MonotonicTime, on reactor: isolated Reactor) async -> Bool {
    precondition(waiter == nil, "two tasks wait in one pause")
    if deadline != .never { reactor.arm(timer, at: deadline) }
    let wasEnded = await withUnsafeContinuation { waiter = $0 }
    reactor.cancel(timer)
    return wasEnded
  }

  /// Lets the task that waits go on, if there is one.
  public func end() {
    waiter.take()?.resume(returning: true)
  }

  /// The deadline has passed.
  public override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    waiter.take()?.resume(returning: false)
  }
}
