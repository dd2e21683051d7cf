/// Sets of ASCII characters as 128-bit masks, so that a membership test is a shift and a mask without a table in
/// memory.
struct ByteClass {
  private let low: UInt64
  private let high: UInt64

  private init(low: UInt64, high: UInt64) {
    self.low = low
    self.high = high
  }

  @inline(__always)
  func contains(_ byte: UInt8) -> Bool {
    let word = byte & 0x40 == 0 ? low : high
    return byte < 0x80 && (word &>> UInt64(byte & 0x3F)) & 1 == 1
  }

  /// tchar of RFC 9110 §5.6.2: `!#$%&'*+-.^_`|~`, digits and letters.
  @inline(__always)
  static var token: ByteClass { ByteClass(low: 0x03FF_6CFA_0000_0000, high: 0x57FF_FFFF_C7FF_FFFE) }

  /// What a request target may hold: visible ASCII but `"`, `#`, `<`, `>` and `\`. That is RFC 3986's set and the few
  /// characters that browsers leave unescaped in a query (URL Standard, "query percent-encode set").
  @inline(__always)
  static var target: ByteClass { ByteClass(low: 0xAFFF_FFF2_0000_0000, high: 0x7FFF_FFFF_EFFF_FFFF) }

  /// What a registered name may hold beside escapes: unreserved characters and sub-delims (RFC 3986 §3.2.2).
  @inline(__always)
  static var registeredName: ByteClass { ByteClass(low: 0x2BFF_7FD2_0000_0000, high: 0x47FF_FFFE_87FF_FFFE) }

  /// The unreserved characters (RFC 3986 §2.3): letters, digits, `-`, `.`, `_`, `~`.
  @inline(__always)
  static var unreserved: ByteClass { ByteClass(low: 0x03FF_6000_0000_0000, high: 0x47FF_FFFE_87FF_FFFE) }

  /// The inside of an IPv6 literal: hexadecimal digits, `:` and `.`.
  @inline(__always)
  static var addressLiteral: ByteClass { ByteClass(low: 0x07FF_4000_0000_0000, high: 0x0000_007E_0000_007E) }

  /// Whether it is white space within a line: OWS of RFC 9110 §5.6.3 consists of these two.
  @inline(__always)
  static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }
}
