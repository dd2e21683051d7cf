public import Reactor

/// Who may make calls that change or reveal the system: whoever bears the admin token, and, where that is switched on,
/// whoever calls from this very machine without a proxy in between.
public struct AdminAccess: Sendable {
  private let token: [UInt8]?
  private let trustsLoopback: Bool

  /// Access by `token` (nil: by no token), and from the loopback address if `trustsLoopback`.
  public init(token: String?, trustsLoopback: Bool) {
    self.token = token.flatMap { $0.isEmpty ? nil : Array($0.utf8) }
    self.trustsLoopback = trustsLoopback
  }

  /// - Throws: `Problem` 401 if the request shows nothing, 403 if what it shows is not enough.
  public func check(_ request: HTTPRequest) throws(Problem) {
    try check(
      peer: request.peer, authorization: request.value(of: .authorization).map { Array($0) },
      forwardedFor: request.text(of: .xForwardedFor), isForwardedOtherwise: request.value(of: .forwarded) != nil)
  }

  /// The same for a caller that has no `HTTPRequest`.
  /// - Parameters:
  ///   - peer: where the connection comes from; a Unix socket is our own balancer's, or somebody's who may use its
  ///   file.
  ///   - authorization: the value of Authorization.
  ///   - forwardedFor: the value of X-Forwarded-For.
  ///   - isForwardedOtherwise: whether another forwarding field is there (RFC 7239).
  public func check(
    peer: SocketAddress, authorization: [UInt8]?, forwardedFor: String?, isForwardedOtherwise: Bool
  ) throws(Problem) {
    if let authorization, let token {
      if AdminAccess.isEqual(AdminAccess.credentials(authorization), token) { return }
      throw Problem(403, "This token does not allow admin calls.")
    }
    if trustsLoopback, !isForwardedOtherwise, AdminAccess.isLocal(peer, forwardedFor) { return }
    throw Problem(401, "Admin calls need the admin token: Authorization: Bearer <token>.")
  }

  /// Our balancer appends the client's address to X-Forwarded-For; more than one address, or any at all on a connection
  /// that is not our balancer's, means that a proxy of somebody else stands in between.
  private static func isLocal(_ peer: SocketAddress, _ forwardedFor: String?) -> Bool {
    guard peer.isUnix else { return peer.isLoopback && forwardedFor == nil }
    guard let forwardedFor else { return true }
    return SocketAddress(ip: forwardedFor, port: 0)?.isLoopback ?? false
  }

  private static func credentials(_ value: [UInt8]) -> ArraySlice<UInt8> {
    let scheme = Array("bearer ".utf8)
    let isBearer = value.count > scheme.count && zip(value, scheme).allSatisfy { $0 | 0x20 == $1 }
    return isBearer ? value[scheme.count...].drop { $0 == 0x20 } : value[...]
  }

  /// Compares without telling by its duration how much was right.
  private static func isEqual(_ given: ArraySlice<UInt8>, _ token: [UInt8]) -> Bool {
    guard given.count == token.count else { return false }
    return zip(given, token).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
  }
}
