import Backends
import Basics
import Reactor

/// Shows that a reactor turns, to whoever watches it from another thread: it says the time again and again.
final class TurnSign: EventHandler {
  private let turned: SharedMoment
  private lazy var timer = ReactorTimer(self)

  /// A sign for what is seen at `turned`.
  init(_ turned: SharedMoment) {
    self.turned = turned
  }

  /// Shows it now, and until the reactor ends.
  func show(on reactor: isolated Reactor) {
    turned.ms = reactor.now.milliseconds
    reactor.arm(timer, after: BalancerLimits.turnsSign)
  }

  override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    show(on: reactor)
  }
}
