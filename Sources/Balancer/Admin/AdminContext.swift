import Balancing
import HTTP
import Reactor
import Roles

/// What the balancer's own endpoints work on.
final class AdminContext {
  let shared: BalancerShared
  private let admin: AdminAccess
  private var counted: (ms: UInt64, addresses: Int)?

  init(_ shared: BalancerShared) {
    self.shared = shared
    admin = AdminAccess(token: shared.configuration.adminToken, trustsLoopback: shared.configuration.trustsLoopback)
  }

  /// Addresses that sent something lately, counted at most once a second: the whole table is walked for it.
  func activeAddresses(at nowMs: UInt64) -> Int {
    if let counted, nowMs < counted.ms + 1000 { return counted.addresses }
    let addresses = shared.limiter.activeCount(at: nowMs)
    counted = (nowMs, addresses)
    return addresses
  }

  /// Lets through who may change or reveal the system: the bearer of the admin token, or, where that is allowed,
  /// somebody on this machine whose request was not forwarded.
  func requireAdmin(_ request: HTTPRequest, on reactor: isolated Reactor) throws(Problem) {
    try admin.check(request, at: reactor.now)
  }
}
