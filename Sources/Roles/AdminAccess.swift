import Basics
public import HTTP
import HTTPSyntax
public import Reactor

/// Who may make calls that change or reveal the system: whoever bears the admin token, and, where that is switched on,
/// whoever calls from this very machine, with no proxy and no page of another site in between. An address that has
/// shown wrong tokens has to wait, also with the right one: who guesses must not learn when it was right.
public final class AdminAccess: RouteGuard, Sendable {
  private let token: [UInt8]?
  private let trustsLoopback: Bool
  private let guesses = Locked(GuessLimit())

  /// Access by `token` (nil: by no token), and from the loopback address if `trustsLoopback`.
  public init(token: String?, trustsLoopback: Bool) {
    self.token = token.flatMap { $0.isEmpty ? nil : Array($0.utf8) }
    self.trustsLoopback = trustsLoopback
  }

  /// - Throws: `Problem` 401 if the request shows nothing, 403 if what it shows is not enough, 429 if its address has
  ///   shown too many wrong tokens.
  public func check(_ request: HTTPRequest, for access: RouteAccess, on reactor: isolated Reactor) throws(Problem) {
    let now = reactor.now
    if let authorization = request.value(of: .authorization) {
      let address = AdminAccess.address(of: request)
      if let seconds = guesses.withLock({ $0.wait(of: address, at: now) }) {
        throw Problem(429, "Too many wrong admin tokens came from this address.", retryAfterSeconds: seconds)
      }
      if let token, SecretBytes.areEqual(AdminAccess.credentials(authorization), token) { return }
      guesses.withLock { $0.wasWrong(address, at: now) }
      throw Problem(403, "This token does not allow admin calls.")
    }
    if trustsLoopback, AdminAccess.isLocal(request), !AdminAccess.isFromForeignPage(request) { return }
    var problem = Problem(401, "Admin calls need the admin token: Authorization: Bearer <token>.")
    problem.fields = [("WWW-Authenticate", "Bearer")]
    throw problem
  }

  /// What the sender is counted by: an IPv4 address or an IPv6 /64. Of what a balancer of ours has passed on, that is
  /// the address which it has appended; whatever else speaks over a Unix socket is one.
  private static func address(of request: HTTPRequest) -> UInt64 {
    var peer: SocketAddress? = request.peer
    if request.peer.isUnix, let forwarded = request.text(of: .xForwardedFor) {
      let last = forwarded.split(separator: ",").last ?? ""
      peer = SocketAddress(ip: String(last.drop { $0 == " " }), port: 0)
    }
    return peer?.ipv4.map(UInt64.init) ?? peer?.ipv6?.high ?? 0
  }

  /// Our balancer, which speaks to us over a Unix socket, replaces X-Forwarded-Host and X-Forwarded-Proto and appends
  /// the client's address to X-Forwarded-For: one address there is the client's own connection. Anything more,
  /// anything unreadable, or any such field on a connection that is not our balancer's means that somebody else's proxy
  /// stands in between.
  private static func isLocal(_ request: HTTPRequest) -> Bool {
    for field in [KnownField.forwarded, .xRealIP, .via] where request.value(of: field) != nil { return false }
    guard request.peer.isUnix else {
      let isForwarded = [KnownField.xForwardedFor, .xForwardedHost, .xForwardedProto].contains {
        request.value(of: $0) != nil
      }
      return request.peer.isLoopback && !isForwarded
    }
    guard request.value(of: .xForwardedFor) != nil else { return true }
    guard let client = request.text(of: .xForwardedFor) else { return false }
    return SocketAddress(ip: client, port: 0)?.isLoopback ?? false
  }

  /// A browser on this machine also carries out what pages from elsewhere ask for. Such a request names their origin,
  /// or a host name of theirs that they let resolve to this machine.
  private static func isFromForeignPage(_ request: HTTPRequest) -> Bool {
    let host = String(decoding: request.headBytes[request.head.authority], as: UTF8.self)
    if let origin = request.value(of: .origin), !origin.elementsEqual("http://\(host)".utf8) { return true }
    if let site = request.value(of: .secFetchSite), !site.elementsEqual("same-origin".utf8),
      !site.elementsEqual("none".utf8)
    {
      return true
    }
    let name = host.last == "]" ? Substring(host) : host[..<(host.lastIndex(of: ":") ?? host.endIndex)]
    return name != "localhost" && SocketAddress(ip: String(name), port: 0) == nil
  }

  private static func credentials(_ value: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    let scheme = Array("bearer ".utf8)
    let isBearer = value.count > scheme.count && zip(value, scheme).allSatisfy { $0 | 0x20 == $1 }
    return isBearer ? value.dropFirst(scheme.count).drop { $0 == 0x20 } : value
  }
}
