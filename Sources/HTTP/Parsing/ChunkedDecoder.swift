/// Decodes a chunked body (RFC 9112 §7.1) that arrives in pieces of any size, without copying: it tells where the data
/// stands in each piece. Sizes are plain hexadecimal digits, lines end with CRLF only; extensions are skipped and
/// trailer fields are checked and dropped, both up to a bound, as recipients may (RFC 9110 §6.5.1).
public struct ChunkedDecoder: Sendable {
  /// What stands next in a piece.
  public enum Event: Equatable, Sendable {
    /// Body bytes at this range of the piece; go on from its end.
    case data(Range<Int>)
    /// The piece is used up, the body is not over.
    case incomplete
    /// The body is over; what begins at `next` belongs to the next message.
    case complete(next: Int)
    /// The body must be refused, and the connection closed.
    case malformed(HeadError)
  }

  private enum State {
    case size, `extension`, sizeFeed
    case data, dataReturn, dataFeed
    case trailerStart, trailerName, trailerValue, trailerFeed, endFeed
    case over
  }

  private var state = State.size
  private var remaining = 0
  private var digits = 0
  private var extensionBytes = 0
  private var trailerBytes = 0

  /// A decoder before the first chunk.
  public init() {}

  /// Whether the whole body was read.
  public var isComplete: Bool { state == .over }

  /// What stands at `start` of `bytes`, the piece that came behind all pieces before it.
  public mutating func next(_ bytes: Span<UInt8>, from start: Int) -> Event {
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
    case .size, .extension, .sizeFeed: return takeSizeLine(byte)
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
    case (.size, UInt8(ascii: ";")) where digits > 0: state = .extension
    case (.size, _):
      guard let value = hexadecimalValue(byte), digits < HTTPLimits.chunkSizeDigitsMax else { return .invalidChunkSize }
      remaining = remaining << 4 | Int(value)
      digits += 1
    case (.extension, UInt8(ascii: "\r")): state = .sizeFeed
    case (.extension, _):
      extensionBytes += 1
      let isControl = byte < 0x20 && byte != 0x09 || byte == 0x7F
      if isControl || extensionBytes > HTTPLimits.chunkExtensionBytesMax { return .invalidChunkExtension }
    default:
      guard byte == UInt8(ascii: "\n") else { return .invalidChunkSize }
      digits = 0
      state = remaining == 0 ? .trailerStart : .data
    }
    return nil
  }

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
func hexadecimalValue(_ digit: UInt8) -> UInt8? {
  switch digit {
  case 0x30...0x39: digit - 0x30
  case 0x61...0x66: digit - 0x57
  case 0x41...0x46: digit - 0x37
  default: nil
  }
}
