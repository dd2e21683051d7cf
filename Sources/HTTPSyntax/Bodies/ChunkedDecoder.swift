/// Decodes a chunked body (RFC 9112 §7.1) that arrives in pieces of any size, without copying: it tells where the data
/// stand in each piece. Sizes are plain hexadecimal digits, lines end with CRLF only; extensions and trailer fields are
/// checked and dropped, both up to a bound, as recipients may (RFC 9110 §6.5.1).
public struct ChunkedDecoder: Sendable {
  /// A decoder before the first chunk.
  public init() {}

  private enum State {
    case size, sizeFeed
    // chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] ), RFC 9112 §7.1.1.
    case sizeBlank, nameStart, name, nameBlank, valueStart, value, quoted, escaped, quotedEnd
    case data, dataReturn, dataFeed
    case trailerStart, trailerName, trailerValue, trailerFeed, endFeed
    case over
  }

  private var remaining = 0
  // Narrow, because every connection has one; their bounds are in `HTTPLimits`.
  private var extensionBytes: UInt16 = 0
  private var trailerBytes: UInt16 = 0
  private var digits: UInt8 = 0
  private var state = State.size

  /// What stands at `start` of `bytes`, the piece that came behind all pieces before it.
  public mutating func next(_ bytes: Span<UInt8>, from start: Int) -> BodyDecoder.Event {
    var position = start
    while position < bytes.count {
      if state == .data {
        let end = min(bytes.count, position + remaining)
        remaining -= end - position
        if remaining == 0 { state = .dataReturn }
        return .data(position..<end)
      }
      if let error = take(bytes[position]) { return .malformed(error) }
      position += 1
      if state == .over { return .complete(next: position) }
    }
    return .incomplete
  }

  /// Takes one byte that is not data.
  private mutating func take(_ byte: UInt8) -> HeadError? {
    switch state {
    case .size, .sizeFeed: return takeSizeLine(byte)
    case .sizeBlank, .nameStart, .name, .nameBlank, .valueStart, .value, .quoted, .escaped, .quotedEnd:
      return takeExtension(byte)
    case .dataReturn:
      guard byte == UInt8(ascii: "\r") else { return .missingChunkEnd }
      state = .dataFeed
      return nil
    case .dataFeed:
      guard byte == UInt8(ascii: "\n") else { return .missingChunkEnd }
      state = .size
      return nil
    case .trailerStart, .trailerName, .trailerValue, .trailerFeed, .endFeed: return takeTrailer(byte)
    case .data, .over: preconditionFailure("a chunked body took a byte in state \(state)")
    }
  }

  private mutating func takeSizeLine(_ byte: UInt8) -> HeadError? {
    switch (state, byte) {
    case (.size, UInt8(ascii: "\r")) where digits > 0: state = .sizeFeed
    case (.size, UInt8(ascii: ";")) where digits > 0: state = .nameStart
    case (.size, 0x20) where digits > 0, (.size, 0x09) where digits > 0: return takeExtension(byte)
    case (.size, _):
      guard let value = hexadecimalValue(byte), digits < HTTPLimits.chunkSizeDigitsMax else { return .invalidChunkSize }
      remaining = remaining << 4 | Int(value)
      digits += 1
    default:
      guard byte == UInt8(ascii: "\n") else { return .invalidChunkSize }
      digits = 0
      state = remaining == 0 ? .trailerStart : .data
    }
    return nil
  }

  /// Takes one byte behind a chunk's size. White space may stand only where an extension goes on behind it.
  private mutating func takeExtension(_ byte: UInt8) -> HeadError? {
    extensionBytes += 1
    if extensionBytes > HTTPLimits.chunkExtensionBytesMax { return .invalidChunkExtension }
    let isBlank = byte == 0x20 || byte == 0x09
    let isToken = ByteClass.token.contains(byte)
    switch (state, byte) {
    case (.size, _): state = .sizeBlank
    case (.sizeBlank, _) where isBlank, (.value, _) where isBlank, (.quotedEnd, _) where isBlank: state = .sizeBlank
    case (.nameStart, _) where isBlank, (.valueStart, _) where isBlank: break
    case (.name, _) where isBlank, (.nameBlank, _) where isBlank: state = .nameBlank
    case (.nameStart, _) where isToken, (.name, _) where isToken: state = .name
    case (.name, UInt8(ascii: "=")), (.nameBlank, UInt8(ascii: "=")): state = .valueStart
    case (.valueStart, UInt8(ascii: "\"")): state = .quoted
    case (.valueStart, _) where isToken, (.value, _) where isToken: state = .value
    case (.quoted, UInt8(ascii: "\"")): state = .quotedEnd
    case (.quoted, UInt8(ascii: "\\")): state = .escaped
    case (.quoted, _) where isText(byte): break
    case (.escaped, _) where isText(byte): state = .quoted
    case (.sizeBlank, UInt8(ascii: ";")), (.name, UInt8(ascii: ";")), (.nameBlank, UInt8(ascii: ";")),
      (.value, UInt8(ascii: ";")), (.quotedEnd, UInt8(ascii: ";")):
      state = .nameStart
    case (.name, UInt8(ascii: "\r")), (.value, UInt8(ascii: "\r")), (.quotedEnd, UInt8(ascii: "\r")): state = .sizeFeed
    default: return .invalidChunkExtension
    }
    return nil
  }

  /// What may stand in a quoted string (RFC 9110 §5.6.4): no control character but tab.
  private func isText(_ byte: UInt8) -> Bool { byte >= 0x20 && byte != 0x7F || byte == 0x09 }

  private mutating func takeTrailer(_ byte: UInt8) -> HeadError? {
    trailerBytes += 1
    if trailerBytes > HTTPLimits.trailerBytesMax { return .trailerTooLarge }
    switch (state, byte) {
    case (.trailerStart, UInt8(ascii: "\r")): state = .endFeed
    case (.trailerName, UInt8(ascii: ":")): state = .trailerValue
    case (.trailerStart, _), (.trailerName, _):
      guard ByteClass.token.contains(byte) else { return .invalidTrailer }
      state = .trailerName
    case (.trailerValue, UInt8(ascii: "\r")): state = .trailerFeed
    case (.trailerValue, _):
      if byte < 0x20 && byte != 0x09 || byte == 0x7F { return .invalidTrailer }
    case (.trailerFeed, UInt8(ascii: "\n")): state = .trailerStart
    case (.endFeed, UInt8(ascii: "\n")): state = .over
    default: return .invalidTrailer
    }
    return nil
  }
}

/// The value of a hexadecimal digit in either case. Its own copy, so that the parsers compile alone under the fuzzer.
@inline(__always)
public func hexadecimalValue(_ digit: UInt8) -> UInt8? {
  switch digit {
  case 0x30...0x39: digit - 0x30
  case 0x61...0x66: digit - 0x57
  case 0x41...0x46: digit - 0x37
  default: nil
  }
}
