/// The bounds of everything a peer can make grow. Each is crossed by a test.
public enum HTTPLimits {
  /// Bytes of a message head, start line and blank line included: past it 431.
  static let headBytesMax = 16 * 1024
  /// Bytes of a request line without its CRLF: past it 414. RFC 9112 §3 asks for at least 8000.
  static let requestLineBytesMax = 8 * 1024
  /// Fields of a message head: past it 431.
  static let fieldsMax = 100
  /// Decimal digits of a Content-Length: 18 always fit in 63 bits.
  static let contentLengthDigitsMax = 18
  /// Hexadecimal digits of a chunk's size, leading zeros included: 15 always fit in 63 bits.
  static let chunkSizeDigitsMax: UInt8 = 15
  /// Bytes of chunk extensions in a whole body; nobody uses them, so more can only be an attack (CVE-2023-39326).
  static let chunkExtensionBytesMax: UInt16 = 4096
  /// Bytes of the trailer section of a chunked body.
  static let trailerBytesMax: UInt16 = 8192
}
