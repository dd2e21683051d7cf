import Synchronization

/// A number that goes up and down: open connections, queued items. Shared by all threads, so it costs an atomic add;
/// what is cheaper to compute when asked is registered with `Metrics.observed` instead.
public final class Gauge: Sendable {
  private let number = Atomic<Int>(0)

  init() {}

  /// Adds `amount`, which may be negative.
  public func add(_ amount: Int) {
    number.add(amount, ordering: .relaxed)
  }

  /// Replaces the number.
  public func set(_ amount: Int) {
    number.store(amount, ordering: .relaxed)
  }

  /// The number now.
  public var value: Int { number.load(ordering: .relaxed) }
}
