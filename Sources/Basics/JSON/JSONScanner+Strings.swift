extension JSONScanner {
  /// Goes past the string that begins at `position`, checking it, and tells whether it has escapes.
  @discardableResult
  mutating func skipString() throws(JSONError) -> Bool {
    position += 1
    var hasEscapes = false
    while true {
      try skipPlain()
      if current == UInt8(ascii: "\"") {
        position += 1
        return hasEscapes
      }
      hasEscapes = true
      _ = try escape()
    }
  }

  /// Decodes the string that begins at `position`.
  mutating func decodeString() throws(JSONError) -> [UInt8] {
    position += 1
    var start = position
    try skipPlain()
    if current == UInt8(ascii: "\"") {
      position += 1
      return Array(bytes[start..<position - 1])
    }
    var decoded: [UInt8] = []
    while current != UInt8(ascii: "\"") {
      decoded += bytes[start..<position]
      decoded += UTF8.encode(try escape())!
      start = position
      try skipPlain()
    }
    decoded += bytes[start..<position]
    position += 1
    return decoded
  }

  /// Goes to the next quote or backslash over characters that stand for themselves.
  private mutating func skipPlain() throws(JSONError) {
    while position < bytes.count {
      let byte = bytes[position]
      if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { return }
      if byte < 0x20 { throw notJSON("a string holds a control character") }
      if byte < 0x80 { position += 1 } else { try skipMultibyte(byte) }
    }
    throw notJSON("a string does not end")
  }

  /// Goes past one well-formed sequence of two to four bytes (Unicode 16, table 3-7).
  private mutating func skipMultibyte(_ first: UInt8) throws(JSONError) {
    let length: Int
    var second: ClosedRange<UInt8> = 0x80...0xBF
    switch first {
    case 0xC2...0xDF: length = 2
    case 0xE0: (length, second) = (3, 0xA0...0xBF)
    case 0xED: (length, second) = (3, 0x80...0x9F)
    case 0xE1...0xEF: length = 3
    case 0xF0: (length, second) = (4, 0x90...0xBF)
    case 0xF1...0xF3: length = 4
    case 0xF4: (length, second) = (4, 0x80...0x8F)
    default: throw notJSON("a string is not UTF-8")
    }
    guard position + length <= bytes.count, second.contains(bytes[position + 1]) else {
      throw notJSON("a string is not UTF-8")
    }
    for offset in 2..<max(length, 2) where bytes[position + offset] & 0xC0 != 0x80 {
      throw notJSON("a string is not UTF-8")
    }
    position += length
  }

  /// Reads the escape at `position`, both halves of a surrogate pair together.
  private mutating func escape() throws(JSONError) -> Unicode.Scalar {
    position += 1
    guard let kind = current else { throw notJSON("a string does not end") }
    position += 1
    switch kind {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(kind)
    case UInt8(ascii: "b"): return "\u{8}"
    case UInt8(ascii: "f"): return "\u{C}"
    case UInt8(ascii: "n"): return "\n"
    case UInt8(ascii: "r"): return "\r"
    case UInt8(ascii: "t"): return "\t"
    case UInt8(ascii: "u"): break
    default: throw notJSON("an escape is unknown")
    }
    let unit = try fourDigits()
    if let scalar = Unicode.Scalar(unit) { return scalar }
    guard unit < 0xDC00, current == UInt8(ascii: "\\"), position + 1 < bytes.count,
      bytes[position + 1] == UInt8(ascii: "u")
    else { throw notJSON("a surrogate is alone") }
    position += 2
    let low = try fourDigits()
    guard 0xDC00...0xDFFF ~= low else { throw notJSON("a surrogate is alone") }
    return Unicode.Scalar(0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00))!
  }

  private mutating func fourDigits() throws(JSONError) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = current, let digit = Hex.value(of: byte) else { throw notJSON("an escape is unfinished") }
      value = value << 4 | UInt32(digit)
      position += 1
    }
    return value
  }
}
