import Basics
@testable import HTTPSyntax
import Testing

@Suite("Partial heads", .timeLimit(.minutes(5))) struct PartialHeadTests {
  /// What a parser says that gets `bytes` in the pieces that `cut` gives, and how many bytes it has looked at for that.
  private func parse(_ bytes: [UInt8], cut: () -> Int) -> (outcome: HeadParse, parsed: Int) {
    let head = RequestHead()
    var partial = PartialHead()
    var (have, parsed) = (0, 0)
    while have < bytes.count {
      let begin = have
      have = min(bytes.count, have + cut())
      let isWorthIt = bytes[begin..<have].withUnsafeBytes { partial.isWorthParsing($0, of: have) }
      guard isWorthIt || begin == 0 else { continue }
      head.reset()
      parsed += have
      let outcome = bytes[..<have].withUnsafeBytes { head.parse($0.bindMemory(to: UInt8.self).span) }
      if outcome != .incomplete { return (outcome, parsed) }
      partial.parsedInVain(have)
    }
    return (.incomplete, parsed)
  }

  private func head(fields: Int, of length: Int) -> [UInt8] {
    let field = "X: " + String(repeating: "v", count: length - 5) + "\r\n"
    return Array(("GET / HTTP/1.1\r\nHost: a\r\n" + String(repeating: field, count: fields) + "\r\n").utf8)
  }

  @Test("a head that comes byte by byte costs a few times what it costs at once") func linear() {
    for (fields, length) in [(1, 16_000), (2, 8_000), (90, 170), (90, 8), (0, 5)] {
      let bytes = head(fields: fields, of: length)
      let seen = parse(bytes) { 1 }
      #expect(seen.outcome == .complete(bytes: bytes.count))
      // Each line's end once, and each doubling once.
      #expect(seen.parsed <= bytes.count * (fields / 2 + 6), "\(seen.parsed) for \(bytes.count)")
    }
  }

  @Test("wherever it is cut, a head ends as it does at once, and nothing more has to come for that") func sameEnd() {
    var random = SeededRandom(seed: 7)
    let long = String(repeating: "x", count: 8200)
    let heads = [
      "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
      "GET /\(long)", "\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: \(long)\(long)",
    ]
    for text in heads {
      let bytes = Array(text.utf8)
      let whole = parse(bytes) { bytes.count }.outcome
      for _ in 0..<200 {
        let most = [1, 2, 7, 100, 5000][Int(random.next() % 5)]
        let seen = parse(bytes) { 1 + Int(random.next() % UInt64(most)) }.outcome
        #expect(seen == whole, "\(text.prefix(40))")
      }
    }
  }
}
