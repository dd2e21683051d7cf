public import Basics

extension Reactor {
  /// Calls the timer's handler at `deadline`, replacing the deadline it had; `never` cancels.
  public func arm(_ timer: ReactorTimer, at deadline: MonotonicTime) {
    timers.arm(timer, at: deadline)
  }

  /// Calls the timer's handler `span` from now, replacing the deadline it had.
  public func arm(_ timer: ReactorTimer, after span: TimeSpan) {
    timers.arm(timer, at: now + span)
  }

  /// Makes sure that the timer does not fire.
  public func cancel(_ timer: ReactorTimer) {
    timers.cancel(timer)
  }

  /// Suspends the calling task for `span`.
  public func sleep(for span: TimeSpan) async {
    await Pause().wait(until: now + span, on: self)
  }

  func fireTimers() {
    while let due = timers.popDue(now) { due.handler.timerFired(due.timer, on: self) }
  }
}
