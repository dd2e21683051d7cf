import Basics
import Testing

@Suite(.timeLimit(.minutes(5))) struct Base64URLTests {
  @Test func `text is read as it was written, and in no other way`() {
    var random = SeededRandom(seed: 7)
    for length in 0..<200 {
      let bytes = (0..<length).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      let text = Base64URL.encode(bytes)
      #expect(Base64URL.decode(text) == bytes)
      #expect(text.count == (length * 8 + 5) / 6)
    }
    for wrong in ["A", "AAAAA", "AB", "AAB", "AA==", "A+AA", "A/AA", "A AA", "AA\n"] {
      #expect(Base64URL.decode(wrong.utf8) == nil, "\(wrong)")
    }
  }

  /// RFC 4648 §10, and the two characters that other alphabets do not have.
  @Test(arguments: [
    ("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE"),
    ("foobar", "Zm9vYmFy"), ("~~?", "fn4_"), ("~>~", "fj5-"),
  ])
  func `known texts come out`(plain: String, text: String) {
    #expect(String(decoding: Base64URL.encode(plain.utf8), as: UTF8.self) == text)
  }
}
