import Basics
import Testing

@testable import Redis

@Suite(.timeLimit(.minutes(5))) struct ReplyParserTests {
  private func feed(_ parser: ReplyParser, _ text: String) {
    var text = text
    text.withUTF8 { parser.feed(UnsafeRawBufferPointer($0)) }
  }

  @Test func `answers are the same however they are cut`() throws {
    var random = SeededRandom(seed: 3)
    let text = "+OK\r\n$5\r\nab\ncd\r\n*3\r\n:1\r\n$-1\r\n*1\r\n$0\r\n\r\n-ERR no\r\n:7\r\n"
    for _ in 0..<500 {
      let parser = ReplyParser()
      var seen: [String] = []
      var rest = Substring(text)
      while !rest.isEmpty {
        let piece = rest.prefix(1 + Int(random.next() % 9))
        rest = rest.dropFirst(piece.count)
        feed(parser, String(piece))
        while let reply = try parser.next() { seen.append("\(reply)") }
      }
      #expect(seen.count == 5, "\(seen)")
    }
  }

  @Test func `an array that claims a billion elements is no answer`() {
    let parser = ReplyParser()
    feed(parser, "*1000000000\r\n")
    #expect(throws: RedisError.self) { try parser.next() }
  }

  @Test func `a line without end is given up, and costs no more than its bytes`() {
    let parser = ReplyParser()
    let piece = String(repeating: "x", count: 1024)
    feed(parser, "+")
    let began = ContinuousClock.now
    #expect(throws: RedisError.self) {
      for _ in 0...Limits.replyBytesMax / 1024 {
        feed(parser, piece)
        _ = try parser.next()
      }
    }
    // To look at all of it for each piece would be 34 billion bytes.
    #expect(ContinuousClock.now - began < .seconds(5))
  }
}
