import Basics
import Testing

@Test(.timeLimit(.minutes(5))) func `a ring queue behaves like an array used as a queue`() {
  for seed in 0..<300 as Range<UInt64> {
    var random = SeededRandom(seed: seed)
    var ring = RingQueue<Int>()
    var model: [Int] = []
    for step in 0..<200 {
      if Int.random(in: 0..<5, using: &random) < 3 {
        ring.append(step)
        model.append(step)
      } else {
        #expect(ring.popFirst() == (model.isEmpty ? nil : model.removeFirst()))
      }
      #expect(ring.count == model.count && ring.first == model.first)
    }
  }
}

@Test(.timeLimit(.minutes(5))) func `a byte buffer keeps the order of what was appended and consumed`() {
  for seed in 0..<40 as Range<UInt64> {
    var random = SeededRandom(seed: seed)
    var buffer = ByteBuffer()
    var model: [UInt8] = []
    for _ in 0..<100 {
      if Bool.random(using: &random) {
        let bytes = (0..<Int.random(in: 0..<3000, using: &random)).map { UInt8(truncatingIfNeeded: $0) }
        buffer.append(bytes)
        model += bytes
      } else {
        let amount = Int.random(in: 0...model.count, using: &random)
        buffer.consume(amount)
        model.removeFirst(amount)
      }
      #expect(buffer.bytes(0..<buffer.count) == model)
    }
    buffer.consume(buffer.count)
    buffer.releaseIfEmpty()
    #expect(buffer.bytesOwned == 0)
  }
}

@Test(.timeLimit(.minutes(5))) func `backoff never exceeds its cap and starts again after a success`() {
  var random = SeededRandom(seed: 7)
  for _ in 0..<500 {
    var backoff = Backoff(base: .milliseconds(10), cap: .seconds(2 as UInt64))
    for attempt in 0..<70 {
      let wait = backoff.next(using: &random)
      #expect(wait <= .seconds(2 as UInt64))
      if attempt == 0 { #expect(wait <= .milliseconds(10)) }
    }
    backoff.reset()
    #expect(backoff.next(using: &random) <= .milliseconds(10))
  }
}

@Test(
  .timeLimit(.minutes(5)),
  arguments: [
    (0, "1970-01-01T00:00:00.000000Z"), (951_827_696_000_001, "2000-02-29T12:34:56.000001Z"),
    (-1, "1969-12-31T23:59:59.999999Z"), (4_102_444_799_999_999, "2099-12-31T23:59:59.999999Z"),
  ])
func `a timestamp is shown as RFC 3339 in UTC`(microseconds: Int64, text: String) {
  #expect(String(decoding: Timestamp(microseconds: microseconds).rfc3339, as: UTF8.self) == text)
  #expect(Timestamp(rfc3339: text.utf8) == Timestamp(microseconds: microseconds))
}

@Test(.timeLimit(.minutes(5))) func `a time in RFC 3339 is read, whatever its offset, and nothing else is`() {
  func read(_ text: String) -> Int64? { Timestamp(rfc3339: text.utf8)?.microseconds }
  for text in ["2026-01-31T12:00:00Z", "2026-01-31t13:30:00.000000+01:30", "2026-01-30 23:00:00.0-13:00"] {
    #expect(read(text) == 1_769_860_800_000_000, "\(text)")
  }
  #expect(read("1970-01-01T00:00:00.1234567Z") == 123_456 && read("1969-12-31T23:59:60Z") == 0)
  for text in [
    "", "2026-01-31", "2026-01-31T12:00:00", "2026-02-29T12:00:00Z", "2026-13-01T12:00:00Z", "2026-01-31T24:00:00Z",
    "2026-01-31T12:60:00Z", "2026-01-31T12:00:61Z", "2026-01-31T12:00:00.Z", "2026-01-31T12:00:00+24:00",
    "2026-01-31T12:00:00ZZ", "26-01-31T12:00:00Z", "2026-1-31T12:00:00Z", "２026-01-31T12:00:00Z",
    " 2026-01-31T12:00:00Z",
  ] { #expect(read(text) == nil, "\(text)") }
  var random = SeededRandom(seed: 3)
  for _ in 0..<2000 {
    let time = Timestamp(
      microseconds: Int64.random(in: -60_000_000_000_000_000...250_000_000_000_000_000, using: &random))
    #expect(Timestamp(rfc3339: time.rfc3339) == time)
  }
}

@Test(.timeLimit(.minutes(5))) func `hexadecimal decodes what it encodes and nothing else`() {
  let bytes = (0...255).map { UInt8($0) }
  #expect(Hex.decode(Hex.encode(bytes)) == bytes)
  #expect(Hex.decode(Array("0g".utf8)) == nil)
  #expect(Hex.decode(Array("abc".utf8)) == nil)
}

@Test(.timeLimit(.minutes(5))) func `a scratch spells numbers as their description does`() {
  let scratch = ByteScratch(capacity: 19)
  func spelled(_ number: Int) -> String {
    scratch.count = 0
    scratch.append(decimal: number)
    return String(decoding: scratch.readable, as: UTF8.self)
  }
  var random = SeededRandom(seed: 8)
  var numbers = Array(0...100_000) + [.max]
  // Around each power of ten, and at random with any number of bits.
  var power = 1
  for _ in 0..<18 {
    power *= 10
    numbers += [power - 1, power, power + 1]
  }
  for _ in 0..<100_000 { numbers.append(Int(random.next() >> (1 + random.next() % 63))) }
  for number in numbers where spelled(number) != String(number) {
    Issue.record("\(number) is spelled \(spelled(number))")
  }
}
