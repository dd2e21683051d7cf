import Basics
public import HTTP
import HTTPSyntax
public import Reactor
public import Tokens

/// Who may call what is not open to anybody.
///
/// A user is whoever bears a token that is believed. An admin, who may change or reveal the system, bears one with the
/// scope `admin`, or the admin token, and, where that is switched on, calls from this very machine without any, with no
/// proxy and no page of another site in between. An admin by a token is a user too.
///
/// An address that has shown wrong admin tokens has to wait, also with the right one: who guesses must not learn when
/// it was right.
public final class Admission: RouteGuard, Sendable {
  private enum Caller {
    case user
    case admin
  }

  private let adminToken: [UInt8]?
  private let tokens: TokenAuthority?
  private let trustsLoopback: Bool
  private let guesses = Locked(GuessLimit())

  /// Admission by `adminToken` (nil: by none), by what `tokens` believes (nil: nothing), and of admins from the
  /// loopback address if `trustsLoopback`.
  public init(adminToken: String?, tokens: TokenAuthority? = nil, trustsLoopback: Bool) {
    self.adminToken = adminToken.flatMap { $0.isEmpty ? nil : Array($0.utf8) }
    self.tokens = tokens
    self.trustsLoopback = trustsLoopback
  }

  /// - Throws: `Problem` 401 if the request shows nothing or something that is not believed, which of its faults it is
  ///   being told to nobody but the log; 400 if it shows two things; 403 if what it shows is not enough; 429 if its
  ///   address has shown too many wrong tokens.
  public func check(_ request: HTTPRequest, for access: RouteAccess, on reactor: isolated Reactor) throws(Problem) {
    if access == .open { return }
    guard let authorization = try request.onlyValue(of: .authorization) else {
      if access == .admin, trustsLoopback, Admission.isLocal(request), !request.isFromForeignPage { return }
      // Without credentials there is no error to be named (RFC 6750 §3.1).
      throw Admission.unauthorized("This call needs a token: Authorization: Bearer <token>.", "Bearer")
    }
    let given = Admission.credentials(authorization)
    // A signature is guessed by nobody, so whoever shows a signed token is never kept waiting by what others try from
    // the same address, as all do whose proxy stands in between.
    let isSigned = tokens != nil && given.lazy.filter { $0 == UInt8(ascii: ".") }.count == 2
    let address = isSigned ? 0 : Admission.address(of: request)
    if !isSigned, let seconds = guesses.withLock({ $0.wait(of: address, at: reactor.now) }) {
      throw Problem(429, "Too many wrong tokens came from this address.", retryAfterSeconds: seconds)
    }
    let caller: Caller
    do throws(TokenFault) {
      caller = try self.caller(showing: given, isSigned: isSigned)
    } catch {
      if !isSigned { guesses.withLock { $0.wasWrong(address, at: reactor.now) } }
      var problem = Admission.unauthorized("This token is not valid.", "Bearer error=\"invalid_token\"")
      problem.secretReason = error.rawValue
      throw problem
    }
    if access == .admin, caller != .admin {
      var problem = Problem(403, "This token does not allow admin calls.")
      problem.fields = [("WWW-Authenticate", "Bearer error=\"insufficient_scope\", scope=\"admin\"")]
      throw problem
    }
  }

  private static func unauthorized(_ detail: String, _ challenge: StaticString) -> Problem {
    var problem = Problem(401, detail)
    problem.fields = [("WWW-Authenticate", challenge)]
    return problem
  }

  private func caller(showing given: ArraySlice<UInt8>, isSigned: Bool) throws(TokenFault) -> Caller {
    if !isSigned, let adminToken, SecretBytes.areEqual(given, adminToken) { return .admin }
    guard let tokens else { throw .unknownKey }
    let claims = try tokens.claims(of: given, at: Timestamp.current().seconds)
    return claims.scopes.contains(Admission.adminScope) ? .admin : .user
  }

  /// The scope of tokens whose bearers are admins.
  private static let adminScope = "admin"

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

  private static func credentials(_ value: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    let scheme = Array("bearer ".utf8)
    let isBearer = value.count > scheme.count && zip(value, scheme).allSatisfy { $0 | 0x20 == $1 }
    return isBearer ? value.dropFirst(scheme.count).drop { $0 == 0x20 } : value
  }
}
