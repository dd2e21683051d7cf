/// What a client is counted by: an IPv4 address, or the /64 network of an IPv6 address, since whoever has one address
/// of a /64 has them all.
///
/// One 64-bit number for both: an IPv6 network as its first 64 bits, an IPv4 address a.b.c.d as those of the network
/// 0:ffff:ab:cd::, which lies in a block that is never assigned (RFC 4291 section 4, 0000::/8). It is never 0, so that
/// 0 can mean an empty place in a table: the network of ::1 is counted under 1.
public struct ClientKey: Hashable, Sendable {
  let number: UInt64

  @usableFromInline static let ipv4Mark: UInt64 = 0x0000_FFFF_0000_0000

  /// The key with a number read from a table.
  init(number: UInt64) {
    self.number = number
  }

  /// The key of an IPv4 address in host byte order: 127.0.0.1 is 0x7F00_0001.
  public init(ipv4 address: UInt32) {
    number = ClientKey.ipv4Mark | UInt64(address)
  }

  /// The key of an IPv6 address given as its two halves in host byte order. An IPv4-mapped address (::ffff:a.b.c.d) has
  /// the key of the IPv4 address, so that a client is the same over either socket.
  public init(ipv6 high: UInt64, _ low: UInt64) {
    if high == 0, low >> 32 == 0xFFFF {
      self.init(ipv4: UInt32(truncatingIfNeeded: low))
    } else {
      self.init(number: max(high, 1))
    }
  }

  /// `192.0.2.1`, or `2001:db8:1:2::/64` (RFC 5952, but zeros inside the network are not shortened).
  public var text: String {
    if number >> 32 == ClientKey.ipv4Mark >> 32 {
      return [24, 16, 8, 0].map { String(number >> $0 & 255) }.joined(separator: ".")
    }
    if number == 1 { return "::/64" }
    return [48, 32, 16, 0].map { String(number >> $0 & 0xFFFF, radix: 16) }.joined(separator: ":") + "::/64"
  }
}
