@testable import Balancer
import Basics
import Testing

/// What the balancer keeps of a client and its request in a form of its own, and writes out again as text.
@Suite("Forwarded texts", .timeLimit(.minutes(5))) struct ForwardedTextTests {
  /// What `write` appends to something that stands there already.
  private func written(_ write: (ByteScratch) -> Void) -> String {
    let scratch = ByteScratch(capacity: 256)
    scratch.append(Array("before ".utf8))
    write(scratch)
    let text = String(decoding: scratch.readable, as: UTF8.self)
    return text.hasPrefix("before ") ? String(text.dropFirst(7)) : "overwritten: \(text)"
  }

  @Test("an address of any length comes back as it was") func addresses() {
    // Each place has a byte of its own; 45 bytes are the longest address (INET6_ADDRSTRLEN without its end).
    let letters = "0123456789abcdefghijklmnopqrstuvwxyz:.ABCDEFG"
    for length in 0...45 {
      for text in [letters.prefix(length), letters.suffix(length)].map(String.init) {
        let peer = PeerText(text)
        #expect(peer.text == text)
        #expect(written { peer.write(to: $0) } == text)
      }
    }
    for text in ["127.0.0.1", "255.255.255.255", "::1", "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", "unknown"] {
      #expect(PeerText(text).text == text)
    }
  }

  @Test("any IPv4 address stands in the value itself") func shortAddresses() {
    for (length, isShort) in [(0, true), (8, true), (9, true), (15, true), (16, false)] {
      if case .short = PeerText(String(repeating: "1", count: length)) {
        #expect(isShort, "\(length) bytes")
      } else {
        #expect(!isShort, "\(length) bytes")
      }
    }
    #expect(MemoryLayout<PeerText>.size <= 17)
  }

  @Test("an id that is made has 32 digits, the leading zeros among them") func madeIDs() {
    func digits(_ word: UInt64) -> String {
      let text = String(word, radix: 16)
      return String(repeating: "0", count: 16 - text.count) + text
    }
    var random = SeededRandom(seed: 7)
    var same = SeededRandom(seed: 7)
    var id = ForwardedID()
    var leadingZeros = 0
    for _ in 0..<2000 {
      id.make(&random)
      let expected = digits(same.next()) + digits(same.next())
      #expect(written { id.write(to: $0) } == expected)
      if expected.hasPrefix("0") { leadingZeros += 1 }
    }
    #expect(leadingZeros > 50)
  }

  @Test("an id that is taken over comes back as it was, whatever was there before") func takenIDs() {
    var random = SeededRandom(seed: 8)
    var id = ForwardedID()
    let letters = Array(String(repeating: "-._~0aZ", count: 20).utf8)
    // Downwards, so that something of a longer one before would show.
    for length in (1...128).reversed() {
      let given = Array(letters.suffix(length))
      given.withUnsafeBytes { id.take($0) }
      #expect(id.bytes == given)
      #expect(written { id.write(to: $0) } == String(decoding: given, as: UTF8.self))
    }
    let copy = id
    id.make(&random)
    #expect(id.bytes.count == 32 && id.bytes != copy.bytes)
    #expect(copy.bytes == Array(letters.suffix(1)), "a copy goes by itself")
  }
}
