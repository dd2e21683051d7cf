import Basics
import Reactor

/// A rest between two attempts that can be cut short, so that closing leaves no task behind.
final class Pause: EventHandler {
  private var waiter: UnsafeContinuation<Void, Never>?
  private lazy var timer = ReactorTimer(self)

  /// Suspends the one task that rests, until `time` or `end`.
  func wait(until time: MonotonicTime, on reactor: isolated Reactor) async {
    reactor.arm(timer, at: time)
    await withUnsafeContinuation { waiter = $0 }
  }

  /// Ends the rest.
  func end(on reactor: isolated Reactor) {
    reactor.cancel(timer)
    waiter.take()?.resume()
  }

  override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    waiter.take()?.resume()
  }
}
