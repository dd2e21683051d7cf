import Basics

/// Decides whether a token is believed (RFC 7519 §7.2, RFC 8725).
struct TokenVerifier {
  /// The keys of now.
  let keys: TokenKeys
  let rules: TokenRules

  private static let headerFields = JSONFields("alg", "kid", "crit")

  /// What `token` says, at `now` in seconds since the Unix epoch, and whose signature it bears.
  /// - Throws: `TokenFault`.
  func claims(of token: [UInt8], at now: Double) throws(TokenFault) -> (claims: TokenClaims, key: TokenKey) {
    guard token.count <= Limits.tokenBytesMax else { throw .malformed }
    let parts = token.split(separator: UInt8(ascii: "."), maxSplits: 3, omittingEmptySubsequences: false)
    guard parts.count == 3, let header = Base64URL.decode(parts[0]), let payload = Base64URL.decode(parts[1]),
      let signature = Base64URL.decode(parts[2])
    else { throw .malformed }
    let key = try key(for: header, at: now)
    let message = Array(parts[0]) + [UInt8(ascii: ".")] + Array(parts[1])
    // Nothing that it says is looked at before it is known who says it.
    guard key.isValid(signature, of: message) else { throw .badSignature }
    guard let claims = try? TokenClaims(json: payload) else { throw .malformed }
    try check(claims, at: now)
    return (claims, key)
  }

  /// The key is chosen by name, or is the only one that lives; the algorithm has to be the key's.
  private func key(for header: [UInt8], at now: Double) throws(TokenFault) -> TokenKey {
    var (algorithm, id, isCritical) = ([UInt8](), [UInt8]?.none, false)
    do throws(JSONError) {
      try JSONScanner.read(header) { (scanner) throws(JSONError) in
        try scanner.object(TokenVerifier.headerFields) { (scanner, field) throws(JSONError) in
          switch field {
          case 0: algorithm = try scanner.string()
          case 1: id = try scanner.string()
          default:
            isCritical = true
            try scanner.skip()
          }
        }
      }
    } catch {
      throw .malformed
    }
    if isCritical { throw .critical }
    let living = keys.keys.filter { $0.lives(at: now) }
    let named = id.map { id in living.first { $0.id.utf8.elementsEqual(id) } } ?? (living.count == 1 ? living[0] : nil)
    guard let named else { throw .unknownKey }
    guard named.algorithm.rawValue.utf8.elementsEqual(algorithm) else { throw .wrongAlgorithm }
    return named
  }

  /// Whether what a token says of its time, its issuer and its readers is as it should be.
  /// - Throws: `TokenFault`.
  func check(_ claims: TokenClaims, at now: Double) throws(TokenFault) {
    if let end = claims.expiresAt {
      guard now < end + Limits.leewaySeconds else { throw .expired }
    } else if !rules.allowsUnexpiring {
      throw .unexpiring
    }
    for begin in [claims.notBefore, claims.issuedAt] {
      if let begin, begin > now + Limits.leewaySeconds { throw .notYetValid }
    }
    if let issuer = rules.issuer, claims.issuer != issuer { throw .wrongIssuer }
    if let audience = rules.audience, !claims.audience.contains(audience) { throw .wrongAudience }
  }
}
