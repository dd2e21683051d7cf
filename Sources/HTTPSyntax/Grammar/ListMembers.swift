/// Walks over the members of a comma-separated list (RFC 9110 §5.6.1): white space around them is dropped, and so are
/// empty ones.
struct ListMembers {
  private var position: Int
  private let end: Int

  init(start: Int, end: Int) {
    position = start
    self.end = end
  }

  mutating func next(_ bytes: Span<UInt8>) -> Range<Int>? {
    while position < end {
      var first = position
      var last = position
      while last < end, bytes[last] != UInt8(ascii: ",") { last += 1 }
      position = last + 1
      while first < last, ByteClass.isBlank(bytes[first]) { first += 1 }
      while last > first, ByteClass.isBlank(bytes[last - 1]) { last -= 1 }
      if first < last { return first..<last }
    }
    return nil
  }
}

/// The number that `bytes[start..<end]` spells in decimal digits and nothing else; nil also when it is too long.
func decimal(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> Int? {
  guard end > start, end - start <= HTTPLimits.contentLengthDigitsMax else { return nil }
  precondition(start >= 0 && end <= bytes.count, "a number outside the bytes")
  var number = 0
  for index in start..<end {
    let digit = bytes[unchecked: index] &- UInt8(ascii: "0")
    guard digit <= 9 else { return nil }
    number = number &* 10 &+ Int(digit)
  }
  return number
}

/// Whether two tokens in one buffer are the same but for the case of letters.
func isSame(_ bytes: Span<UInt8>, _ left: Int, _ right: Int, count: Int) -> Bool {
  func folded(_ byte: UInt8) -> UInt8 { byte &- 0x41 < 26 ? byte | 0x20 : byte }
  for offset in 0..<count where folded(bytes[left + offset]) != folded(bytes[right + offset]) { return false }
  return true
}
