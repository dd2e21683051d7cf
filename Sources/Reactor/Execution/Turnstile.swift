public import Basics

/// Lets so many tasks of a reactor through at a time; the others wait in the order in which they came.
public final class Turnstile {
  private var free: Int
  private var waiting = RingQueue<Pause>()

  /// A turnstile for `width` tasks at a time.
  public init(width: Int) {
    free = width
  }

  /// Waits for a place, which `leave` must give back.
  /// - Returns: whether it was to be had by `deadline`.
  public func enter(until deadline: MonotonicTime, on reactor: isolated Reactor) async -> Bool {
    if free > 0, waiting.isEmpty {
      free -= 1
      return true
    }
    let pause = Pause()
    waiting.append(pause)
    return await pause.wait(until: deadline, on: reactor)
  }

  /// Gives the place back: to the next one that still waits, if there is one.
  public func leave() {
    while let next = waiting.popFirst() {
      if next.isAwaited { return next.end() }
    }
    free += 1
  }
}
