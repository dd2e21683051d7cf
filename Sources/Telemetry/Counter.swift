/// A number that only grows: requests, errors, bytes. A handle is made once by `Metrics` and costs one add to use.
public struct Counter: Sendable {
  let cell: Int

  /// Adds one.
  public func increment() {
    MetricCells.add(cell, 1)
  }

  /// Adds `amount`.
  public func add(_ amount: Int) {
    MetricCells.add(cell, UInt64(truncatingIfNeeded: amount))
  }

  /// What all threads have counted so far.
  public var value: UInt64 { MetricCells.total(cell) }
}
