import Basics
import Glibc

/// The keys of a system: the first that can and is no former one signs, all that live are believed. While keys are
/// rotated there are two, so that tokens of the former are good until they have expired.
public struct TokenKeys: Sendable, Equatable {
  /// Newest first.
  public let keys: [TokenKey]

  /// Why there are none.
  public enum Failure: Error, Equatable, Sendable, CustomStringConvertible {
    /// The file cannot be read or written; `code` is the system's.
    case file(code: Int32)
    /// A line is no key, or names one that an earlier line has named.
    case malformed(line: Int)
    /// There is no key in it, or too many, or too many bytes.
    case count
    /// As many keys live as a file may hold; the first former one does until `until`, in seconds since the Unix epoch.
    case full(until: Double?)

    /// What is wrong with the file, in one line for a person.
    public var description: String {
      switch self {
      case .file(let code): String(cString: strerror(code))
      case .malformed(let line): "line \(line) is no key, or that of an earlier line"
      case .count: "it holds no key, or more than \(Limits.keysMax)"
      case .full(let until):
        "it holds \(Limits.keysMax) keys, and "
          + (until.map { "the first that ends does at second \(Int64($0)) of the Unix epoch" } ?? "none of them ends")
      }
    }
  }

  /// `keys`, newest first, 1 to 8.
  init(_ keys: [TokenKey]) {
    self.keys = keys
  }

  /// One new key.
  public static func new(_ algorithm: TokenAlgorithm) -> TokenKeys { TokenKeys([.random(algorithm)]) }

  /// A new key before those there were at `now`. Those that could sign are former ones from then on, and live until
  /// the tokens have expired that they have signed, of which none lasts for longer than `lifetimeSeconds`; 0 ends them
  /// at once.
  /// - Throws: `full`.
  public func rotated(
    _ algorithm: TokenAlgorithm, lifetimeSeconds: Int, at now: Double
  ) throws(Failure) -> TokenKeys {
    var kept: [TokenKey] = []
    for var key in keys where key.lives(at: now) {
      if key.canSign, lifetimeSeconds == 0 { continue }
      if key.canSign, key.until == nil {
        key.until = (now + Double(lifetimeSeconds) + Limits.rotationSlackSeconds).rounded(.up)
      }
      kept.append(key)
    }
    guard kept.count < Limits.keysMax else { throw .full(until: kept.compactMap(\.until).min()) }
    return TokenKeys([.random(algorithm)] + kept)
  }

  /// What verifies, for those who must not sign; nil if it takes a secret to verify any of them.
  public var publicPart: TokenKeys? {
    let parts = keys.compactMap(\.publicPart)
    return parts.isEmpty ? nil : TokenKeys(parts)
  }

  /// The key that signs; nil if none can.
  public var signer: TokenKey? { keys.first { $0.canSign && $0.until == nil } }

  /// A token that says `claims`; nil if no key can sign.
  func signed(_ claims: TokenClaims) -> [UInt8]? {
    guard let key = signer else { return nil }
    var header = JSONWriter()
    header.object { header in
      header.field("alg", key.algorithm.rawValue)
      header.field("typ", "JWT")
      header.field("kid", key.id)
    }
    let message = Base64URL.encode(header.bytes) + [UInt8(ascii: ".")] + Base64URL.encode(claims.json)
    return key.signature(of: message).map { message + [UInt8(ascii: ".")] + Base64URL.encode($0) }
  }
}
