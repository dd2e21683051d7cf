import Balancing
import HTTP

/// What the balancer's own endpoints work on.
final class AdminContext {
  let shared: BalancerShared

  init(_ shared: BalancerShared) {
    self.shared = shared
  }

  /// Lets through who may change or reveal the system: the bearer of the admin token, or, where that is allowed,
  /// somebody on this machine whose request was not forwarded.
  func requireAdmin(_ request: HTTPRequest) throws(Problem) {
    try AdminAccess(token: shared.configuration.adminToken, trustsLoopback: shared.configuration.trustsLoopback)
      .check(request)
  }
}
