import Basics

/// The 16 bytes of an MD5 digest.
public struct Digest128: Hashable, Sendable {
  private let words: (UInt64, UInt64)

  /// The digest whose bytes are `bytes`, 16 of them.
  public init(bytes: UnsafeRawBufferPointer) {
    precondition(bytes.count == 16, "an MD5 digest has 16 bytes")
    words = (bytes.loadUnaligned(as: UInt64.self), bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
  }

  /// The bytes in the order of RFC 1321.
  public var bytes: [UInt8] { withUnsafeBytes(of: words) { Array($0) } }

  /// 32 lower-case hexadecimal digits.
  public var hex: [UInt8] { withUnsafeBytes(of: words) { Hex.encode($0) } }

  /// Whether all bytes are the same.
  public static func == (left: Digest128, right: Digest128) -> Bool { left.words == right.words }

  /// Feeds the first word: digests are spread evenly already.
  public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }
}

/// The 32 bytes of a SHA-256 digest, held as four words so that it is a cheap dictionary key.
public struct Digest256: Hashable, Sendable {
  private let words: (UInt64, UInt64, UInt64, UInt64)

  /// The digest whose bytes are `bytes`, 32 of them.
  public init(bytes: UnsafeRawBufferPointer) {
    precondition(bytes.count == 32, "a SHA-256 digest has 32 bytes")
    words = (
      bytes.loadUnaligned(as: UInt64.self), bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self),
      bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self), bytes.loadUnaligned(fromByteOffset: 24, as: UInt64.self)
    )
  }

  /// The digest that was stored as `bytes`, nil unless there are 32.
  public init?(_ bytes: [UInt8]) {
    guard bytes.count == 32 else { return nil }
    self = bytes.withUnsafeBytes { Digest256(bytes: $0) }
  }

  /// The bytes in the order of FIPS 180-4.
  public var bytes: [UInt8] { withUnsafeBytes(of: words) { Array($0) } }

  /// 64 lower-case hexadecimal digits.
  public var hex: [UInt8] { withUnsafeBytes(of: words) { Hex.encode($0) } }

  /// The first eight bytes read as a big-endian number: a place on a hash ring, the same on every machine.
  public var ringPosition: UInt64 { UInt64(bigEndian: words.0) }

  /// Whether all bytes are the same.
  public static func == (left: Digest256, right: Digest256) -> Bool { left.words == right.words }

  /// Feeds the first word: digests are spread evenly already.
  public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }
}
