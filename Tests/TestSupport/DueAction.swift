import Basics
public import Reactor

/// Does something in the same turn of a reactor as whatever else is due by then, and before it.
public final class DueAction: EventHandler {
  private let action: () -> Void
  private lazy var timer = ReactorTimer(self)

  /// Will do `action`.
  public init(_ action: @escaping () -> Void) {
    self.action = action
  }

  /// Keeps the reactor's thread busy for `span`, so that all that is due until then is found due in its next turn; the
  /// action comes first.
  public func precede(all span: TimeSpan, on reactor: isolated Reactor) {
    reactor.arm(timer, at: reactor.now)
    let end = MonotonicTime.current() + span
    while MonotonicTime.current() < end {}
  }

  /// Does it.
  public override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    action()
  }
}
