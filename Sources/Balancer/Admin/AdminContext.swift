import Balancing

/// What the balancer's own endpoints work on.
final class AdminContext {
  let shared: BalancerShared
  private var counted: (ms: UInt64, addresses: Int)?

  init(_ shared: BalancerShared) {
    self.shared = shared
  }

  /// Addresses that sent something lately, counted at most once a second: the whole table is walked for it.
  func activeAddresses(at nowMs: UInt64) -> Int {
    if let counted, nowMs < counted.ms + 1000 { return counted.addresses }
    let addresses = shared.limiter.activeCount(at: nowMs)
    counted = (nowMs, addresses)
    return addresses
  }
}
