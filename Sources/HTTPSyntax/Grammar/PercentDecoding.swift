/// An escape in a path or query that is not `%` and two hexadecimal digits, or that hides a NUL or a broken character.
public struct EscapeError: Error, Equatable, Sendable {
  /// An error; it has no more to say than its type.
  public init() {}
}

/// Decodes `%XX` (RFC 3986 §2.1), and `+` as a space where forms write it so; anything but a well-formed UTF-8 text
/// without NUL is an error, because what stands behind this reads text.
public func percentDecoded(_ bytes: Span<UInt8>, plusIsSpace: Bool = false) throws(EscapeError) -> String {
  var decoded: [UInt8] = []
  decoded.reserveCapacity(bytes.count)
  var index = 0
  while index < bytes.count {
    let byte = bytes[index]
    if byte == UInt8(ascii: "%") {
      guard index + 2 < bytes.count, let high = hexadecimalValue(bytes[index + 1]),
        let low = hexadecimalValue(bytes[index + 2]), high | low != 0
      else { throw EscapeError() }
      decoded.append(high << 4 | low)
      index += 3
    } else {
      decoded.append(plusIsSpace && byte == UInt8(ascii: "+") ? 0x20 : byte)
      index += 1
    }
  }
  guard let text = String(validating: decoded, as: UTF8.self) else { throw EscapeError() }
  return text
}

/// The name and value pairs of a query, in order, still escaped: `?a=1&b` gives `a` = `1` and `b` = ``.
public struct QueryPairs {
  private var position: Int
  private let end: Int

  /// Walks over `query`, a range of a buffer, with or without its `?`.
  public init(_ bytes: Span<UInt8>, _ query: Range<Int>) {
    let hasMark = !query.isEmpty && bytes[query.lowerBound] == UInt8(ascii: "?")
    position = query.lowerBound + (hasMark ? 1 : 0)
    end = query.upperBound
  }

  /// The next pair as ranges of the buffer, nil at the end. Empty pairs (`&&`) are skipped.
  public mutating func next(_ bytes: Span<UInt8>) -> (name: Range<Int>, value: Range<Int>)? {
    while position < end {
      let start = position
      var equals = -1
      while position < end, bytes[position] != UInt8(ascii: "&") {
        if equals < 0, bytes[position] == UInt8(ascii: "=") { equals = position }
        position += 1
      }
      let stop = position
      position += 1
      if start == stop { continue }
      return equals < 0 ? (start..<stop, stop..<stop) : (start..<equals, equals + 1..<stop)
    }
    return nil
  }
}
