import Basics
import Hashing

/// A key for tokens. The algorithm is the key's and never the token's choice: one that names another is refused.
public struct TokenKey: Sendable, Equatable {
  /// What is kept of it.
  enum Material: Sendable {
    /// Signs and verifies.
    case secret(SecretKey)
    /// Verifies only.
    case publicKey([UInt8])
  }

  /// Its name in tokens, `kid`.
  public let id: String
  /// The algorithm that it is for.
  public let algorithm: TokenAlgorithm
  let material: Material
  /// Until when its tokens are believed, in seconds since the Unix epoch, if another key signs in its place; nil while
  /// it is no former one.
  public internal(set) var until: Double?

  /// A new key.
  static func random(_ algorithm: TokenAlgorithm) -> TokenKey { TokenKey(SecretKey.random(), algorithm) }

  /// A key is known by the beginning of a digest, which tells nothing of it.
  init(_ key: SecretKey, _ algorithm: TokenAlgorithm) {
    let shown = algorithm == .ed25519 ? Ed25519.publicKey(of: key) : key.derived(for: "token key id").revealed
    let id = String(decoding: Base64URL.encode(SHA256.digest(of: shown).bytes.prefix(9)), as: UTF8.self)
    self.init(id: id, algorithm: algorithm, material: .secret(key))
  }

  init(id: String, algorithm: TokenAlgorithm, material: Material, until: Double? = nil) {
    self.id = id
    self.algorithm = algorithm
    self.material = material
    self.until = until
  }

  /// Whether it can sign.
  var canSign: Bool { if case .secret = material { true } else { false } }

  /// Whether its tokens are believed at `now`.
  func lives(at now: Double) -> Bool { until.map { now < $0 } ?? true }

  /// What verifies its signatures and cannot make any, nil if there is no such thing.
  var publicPart: TokenKey? {
    switch (algorithm, material) {
    case (.hs256, _): return nil
    case (.ed25519, .publicKey): return self
    case (.ed25519, .secret(let key)):
      return TokenKey(
        id: id, algorithm: algorithm, material: .publicKey(Ed25519.publicKey(of: key)), until: until)
    }
  }

  /// The signature of `message`; nil if the key only verifies.
  func signature(of message: [UInt8]) -> [UInt8]? {
    guard case .secret(let key) = material else { return nil }
    switch algorithm {
    case .hs256: return HMACSHA256(key).code(of: message).bytes
    case .ed25519: return Ed25519.signature(of: message, under: key)
    }
  }

  /// Whether `signature` is that of `message`.
  func isValid(_ signature: [UInt8], of message: [UInt8]) -> Bool {
    switch (algorithm, material) {
    case (.hs256, .secret(let key)):
      SecretBytes.areEqual(signature, HMACSHA256(key).code(of: message).bytes)
    case (.ed25519, .secret(let key)):
      Ed25519.isValid(signature, of: message, publicKey: Ed25519.publicKey(of: key))
    case (.ed25519, .publicKey(let bytes)): Ed25519.isValid(signature, of: message, publicKey: bytes)
    case (.hs256, .publicKey): false
    }
  }

  /// The same in every respect.
  public static func == (left: TokenKey, right: TokenKey) -> Bool { left.line == right.line }
}
