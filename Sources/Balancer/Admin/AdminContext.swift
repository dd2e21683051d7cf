import Balancing
import HTTP
import Reactor

/// What the balancer's own endpoints work on.
final class AdminContext {
  let shared: BalancerShared

  init(_ shared: BalancerShared) {
    self.shared = shared
  }

  /// Lets through who may change or reveal the system: the bearer of the admin token, or, where that is allowed,
  /// somebody on this machine whose request was not forwarded.
  func requireAdmin(_ request: HTTPRequest) throws(Problem) {
    let configuration = shared.configuration
    if configuration.trustsLoopback, request.peer.isLoopback, !isForwarded(request) { return }
    guard let given = request.text(of: .authorization) else {
      var problem = Problem(401, "This needs the admin token.")
      problem.fields = [("WWW-Authenticate", "Bearer")]
      throw problem
    }
    let token = given.hasPrefix("Bearer ") ? String(given.dropFirst(7)) : given
    guard let expected = configuration.adminToken, isSame(Array(token.utf8), Array(expected.utf8)) else {
      throw Problem(403, "This token does not allow it.")
    }
  }

  private func isForwarded(_ request: HTTPRequest) -> Bool {
    for field in [KnownField.xForwardedFor, .forwarded, .xRealIP, .via] where request.value(of: field) != nil {
      return true
    }
    return false
  }

  /// Compares in a time that does not tell how much was right.
  private func isSame(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    guard left.count == right.count else { return false }
    var difference: UInt8 = 0
    for index in left.indices { difference |= left[index] ^ right[index] }
    return difference == 0
  }
}
