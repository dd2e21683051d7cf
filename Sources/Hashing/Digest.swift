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

  /// What is left of the whole digest, a big-endian number of 256 bits, divided by `divisor`, which is 1 to 2^31.
  public func remainder(dividingBy divisor: Int) -> Int {
    precondition(1...(1 << 31) ~= divisor, "a divisor is 1 to 2^31")
    return withUnsafeBytes(of: words) { bytes in
      var rest = 0
      for offset in stride(from: 0, to: 32, by: 4) {
        rest = (rest << 32 | Int(UInt32(bigEndian: bytes.load(fromByteOffset: offset, as: UInt32.self)))) % divisor
      }
      return rest
    }
  }

  /// Whether all bytes are the same.
  public static func == (left: Digest256, right: Digest256) -> Bool { left.words == right.words }

  /// Feeds the first word: digests are spread evenly already.
  public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }
}
