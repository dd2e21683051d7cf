import Basics
import HTTPSyntax
import TestSupport
import Testing

@Suite("Parsing", .timeLimit(.minutes(5))) struct ParsingTests {
  @Test("a request stream gives its log wherever it is cut", arguments: CorpusCase.load("requests"))
  func requests(_ example: CorpusCase) {
    expectLog(example, answering: nil)
  }

  @Test("a response stream gives its log wherever it is cut", arguments: CorpusCase.load("responses"))
  func responses(_ example: CorpusCase) {
    let method: HTTPMethod = example.title.hasPrefix("HEAD") ? .head : .get
    expectLog(example, answering: method)
  }

  @Test("the corpora are there") func corporaAreThere() {
    #expect(CorpusCase.load("requests").count > 60)
    #expect(CorpusCase.load("responses").count > 15)
  }

  @Test("whatever its length, a value is refused for each control character at each place, and for nothing behind it")
  func values() {
    let head = RequestHead()
    let line = Array("GET / HTTP/1.1\r\nHost: a\r\nX-Value:".utf8)
    func outcome(_ value: [UInt8]) -> HeadParse {
      head.reset()
      return head.parse((line + value + Array("\r\n\r\n\0\0\0\0\0\0\0\0".utf8)).span)
    }
    let bad: [UInt8] = [0, 1, 0x0D, 0x1F, 0x7F]
    let good: [UInt8] = [0x20, 0x21, 0x7E, 0x80, 0x9F, 0xFF]
    for length in 1...26 {
      for place in 0..<length {
        var value = [UInt8](repeating: 0x61, count: length)
        for byte in good + (0 < place && place < length - 1 ? [0x09] : []) {
          value[place] = byte
          #expect(outcome(value) == .complete(bytes: line.count + length + 4), "\(byte) at \(place) of \(length)")
        }
        for byte in bad {
          value[place] = byte
          let error = byte == 0x0D ? HeadError.bareCarriageReturn : .invalidFieldValue
          #expect(outcome(value) == .malformed(error), "\(byte) at \(place) of \(length)")
        }
      }
    }
  }

  @Test("every known field is recognised in any case, and no other name of its length") func knownNames() {
    let head = RequestHead()
    func known(_ name: [UInt8]) -> KnownField? {
      head.reset()
      guard case .complete = head.parse((Array("GET / HTTP/1.0\r\n".utf8) + name + Array(":\r\n\r\n".utf8)).span) else {
        return nil
      }
      return head[0].known
    }
    // What an empty value is no error of.
    let framing: [KnownField] = [.contentLength, .transferEncoding, .host, .expect]
    for field in KnownField.allCases where field != .other && field != .imitation && !framing.contains(field) {
      let name = field.name.withUTF8Buffer { Array($0) }
      #expect(known(name) == field)
      #expect(known(name.map { 0x41...0x5A ~= $0 ? $0 | 0x20 : $0 }) == field)
      #expect(known(name.map { 0x61...0x7A ~= $0 ? $0 & 0xDF : $0 }) == field)
      for place in name.indices {
        var other = name
        other[place] = UInt8(ascii: "~")
        #expect(known(other) == .other, "\(field) with ~ at \(place)")
      }
    }
  }

  /// Whole, cut in two at every place, and byte by byte.
  private func expectLog(_ example: CorpusCase, answering method: HTTPMethod?) {
    #expect(log([example.input[...]], method) == example.expected)
    let stride = example.input.count > 2000 ? 331 : 1
    for cut in Swift.stride(from: 0, to: example.input.count, by: stride) {
      let pieces = [example.input[..<cut], example.input[cut...]]
      #expect(log(pieces, method) == example.expected, "cut at \(cut)")
    }
    #expect(log(example.input.map { [$0] }, method) == example.expected, "byte by byte")
  }

  private func log(_ pieces: [some Collection<UInt8>], _ method: HTTPMethod?) -> [String] {
    var log = HTTPEventLog(answering: method)
    for piece in pieces { log.take(piece) }
    log.finish()
    return log.lines
  }

  @Test("mutated requests never trap and give one log wherever they are cut")
  func mutations() {
    var random = SeededRandom(seed: 20_260_731)
    let seeds = CorpusCase.load("requests").map(\.input).filter { $0.count < 2000 }
    let interesting: [UInt8] = Array("\r\n\t :;,0aF-+%/\u{0}".utf8) + [0x7F, 0x80, 0xFF]
    for round in 0..<20_000 {
      var bytes = seeds[Int(random.next() % UInt64(seeds.count))]
      for _ in 0...(random.next() % 4) where !bytes.isEmpty {
        let place = Int(random.next() % UInt64(bytes.count))
        let value = interesting[Int(random.next() % UInt64(interesting.count))]
        switch random.next() % 4 {
        case 0: bytes[place] = value
        case 1: bytes.insert(value, at: place)
        case 2: bytes.remove(at: place)
        default: bytes += bytes[place...].prefix(40)
        }
      }
      let cut = bytes.isEmpty ? 0 : Int(random.next() % UInt64(bytes.count))
      let whole = log([bytes[...]], nil)
      #expect(whole == log([bytes[..<cut], bytes[cut...]], nil), "round \(round)")
    }
  }

  @Test("every known field is recognised in any case, and nothing like it")
  func knownFields() {
    for field in KnownField.allCases where field != .other && field != .imitation {
      for name in ["\(field.name)", "\(field.name)".uppercased(), "\(field.name)".lowercased()] {
        #expect(recognised(name) == field, "\(name)")
      }
      #expect(recognised("\(field.name)x") != field)
      #expect(recognised("\(field.name)".dropLast() + "_") == .other)
    }
  }

  @Test("a name that only looks like a framing or forwarding field is told from it")
  func imitations() {
    for name in [
      "X_Forwarded_For", "X-Forwarded_For", "x_real_ip", "Transfer_Encoding", "Content_Length", "X_Request-Id",
      "Keep_Alive",
    ] {
      #expect(recognised(name) == .imitation, "\(name)")
    }
    for name in ["If_Match", "User_Agent", "X_Forwarded_Fo_", "X_Custom"] {
      #expect(recognised(name) == .other, "\(name)")
    }
  }

  /// What the parser takes a field called `name` for.
  private func recognised(_ name: some StringProtocol) -> KnownField? {
    let value =
      switch name.lowercased() {
      case "host": "h"
      case "content-length": "1"
      case "expect": "100-continue"
      case "transfer-encoding": "chunked"
      default: "x"
      }
    let host = name.lowercased() == "host" ? "" : "Host: h\r\n"
    let bytes = Array("GET / HTTP/1.1\r\n\(name): \(value)\r\n\(host)\r\n".utf8)
    let head = RequestHead()
    guard case .complete = head.parse(bytes.span) else { return nil }
    return head[0].known
  }

  @Test("percent escapes decode strictly") func escapes() throws {
    #expect(try percentDecoded(Array("a%20b+c%C3%A4".utf8).span) == "a b+cä")
    #expect(try percentDecoded(Array("a+b".utf8).span, plusIsSpace: true) == "a b")
    for broken in ["%", "%2", "%zz", "a%0", "%00", "%FF", "%C3%28"] {
      #expect(throws: EscapeError.self, "\(broken)") { try percentDecoded(Array(broken.utf8).span) }
    }
  }

  @Test("a query falls into its pairs") func query() {
    let bytes = Array("?a=1&&b&=x&c=d=e&".utf8)
    var pairs = QueryPairs(bytes.span, 0..<bytes.count)
    var seen: [String] = []
    while let pair = pairs.next(bytes.span) {
      seen.append(String(decoding: bytes[pair.name] + [0x7C] + bytes[pair.value], as: UTF8.self))
    }
    #expect(seen == ["a|1", "b|", "|x", "c|d=e"])
  }
}
