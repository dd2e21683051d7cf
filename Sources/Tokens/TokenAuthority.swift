import Basics

/// What a process believes and issues: its rules, and the keys of its file as they are now.
///
/// A rotation needs no signal and no restart: the file is looked at once a second while somebody asks, and at once for
/// a token whose key is not known, which another process may have signed that has seen the new key before this one.
public final class TokenAuthority: Sendable {
  /// What is asked of tokens beside a signature.
  public let rules: TokenRules
  private let live: LiveTokenKeys
  private let believed = Locked(BelievedTokens())

  /// Works with the keys in the file at `path`.
  /// - Parameter told: is called when the file has been read anew, with nil, or when it was changed and could not be
  ///   read, with the reason; then the former keys stay.
  /// - Throws: `TokenKeys.Failure` if it cannot be read now.
  public init(
    keysAt path: String, rules: TokenRules = TokenRules(),
    told: @escaping @Sendable (TokenKeys.Failure?) -> Void = { _ in }
  ) throws(TokenKeys.Failure) {
    self.rules = rules
    live = try LiveTokenKeys(path: path, told: told)
  }

  /// What `token` says, at `now` in seconds since the Unix epoch.
  /// - Throws: `TokenFault`.
  public func claims(of token: some Collection<UInt8>, at now: Double) throws(TokenFault) -> TokenClaims {
    let (keys, token) = (live.keys(at: now), Array(token))
    if let claims = believed.withLock({ $0.claims(of: token, by: keys, at: now) }) {
      try TokenVerifier(keys: keys, rules: rules).check(claims, at: now)
      return claims
    }
    do throws(TokenFault) {
      return try claims(of: token, by: keys, at: now)
    } catch {
      guard error == .unknownKey, let changed = live.changedKeys(from: keys, at: now) else { throw error }
      return try claims(of: token, by: changed, at: now)
    }
  }

  private func claims(of token: [UInt8], by keys: TokenKeys, at now: Double) throws(TokenFault) -> TokenClaims {
    let (claims, key) = try TokenVerifier(keys: keys, rules: rules).claims(of: token, at: now)
    believed.withLock { $0.remember(token, claims, signedBy: key, of: keys) }
    return claims
  }

  /// Whether it can issue tokens, by the keys that there were when it last looked.
  public var canSign: Bool { live.known.signer != nil }

  /// A token for `subject`, made at `now`, that lasts for `lifetimeSeconds`, 1 to ten years; nil if no key can sign.
  public func token(
    for subject: String, scopes: [String] = [], lifetimeSeconds: Int, at now: Double
  ) -> [UInt8]? {
    var claims = TokenClaims()
    (claims.subject, claims.scopes, claims.issuer) = (subject, scopes, rules.issuer)
    claims.audience = rules.audience.map { [$0] } ?? []
    let second = now.rounded(.down)
    (claims.issuedAt, claims.expiresAt) = (second, second + Double(lifetimeSeconds))
    return live.keys(at: now).signed(claims)
  }
}
