/// How a token is signed (RFC 7518 §3.2, RFC 8037 §3.1).
public enum TokenAlgorithm: String, CaseIterable, Sendable {
  /// HMAC with SHA-256: who verifies can sign.
  case hs256 = "HS256"
  /// Ed25519: who verifies needs only the public key.
  case ed25519 = "EdDSA"
}
