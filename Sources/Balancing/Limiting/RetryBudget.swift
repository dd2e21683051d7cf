import Synchronization

/// Keeps retries to a share of the requests, so that a failing system is not finished off by them. Each request pays in
/// a part of a retry; a small reserve lets a quiet system retry at all. Shared by all reactors.
public final class RetryBudget: Sendable {
  /// Retries that may be saved up while nothing fails.
  static let savedMax = 100
  /// Retries that a new budget holds.
  public static let reserve = 10

  private let percent: Int
  /// In hundredths of a retry.
  private let balance: Atomic<Int>

  /// A budget of `percent` retries for 100 requests, 0 to 100.
  public init(percent: Int = 20) {
    precondition((0...100).contains(percent), "a share is 0 to 100 percent")
    self.percent = percent
    balance = Atomic(percent == 0 ? 0 : RetryBudget.reserve * 100)
  }

  /// A request was sent for the first time.
  public func requestStarted() {
    // Once full there is nothing to write; passing the bound by one request a thread does no harm.
    guard balance.load(ordering: .relaxed) < RetryBudget.savedMax * 100 else { return }
    balance.add(percent, ordering: .relaxed)
  }

  /// Takes one retry out of the budget; false if it is used up.
  public func takeRetry() -> Bool {
    var current = balance.load(ordering: .relaxed)
    while current >= 100 {
      let (exchanged, original) = balance.weakCompareExchange(
        expected: current, desired: current - 100, ordering: .relaxed)
      if exchanged { return true }
      current = original
    }
    return false
  }
}
