extension RequestHead {
  /// Reads `method SP target SP version` from `bytes[start..<end]` (RFC 9112 §3), single spaces and nothing else.
  func parseRequestLine(_ bytes: Span<UInt8>, start: Int, end: Int) -> HeadError? {
    precondition(start <= end && end <= bytes.count, "a line outside the bytes")
    var position = start
    while position < end, ByteClass.token.contains(bytes[unchecked: position]) { position += 1 }
    guard position > start, position < end, bytes[position] == UInt8(ascii: " ") else { return .invalidMethod }
    method = HTTPMethod.recognise(bytes, start, position)
    methodName = start..<position
    let target = position + 1
    position = target
    while position < end, ByteClass.target.contains(bytes[unchecked: position]) { position += 1 }
    guard position < end, bytes[position] == UInt8(ascii: " ") else {
      // A line without a version is either HTTP/0.9 or a target with a character that must be escaped.
      return position == end ? .invalidStartLine : .invalidTarget
    }
    if let error = parseVersion(bytes, start: position + 1, end: end) { return error }
    if method == .connect { return .connectRefused }
    return parseTarget(bytes, start: target, end: position)
  }

  private func parseVersion(_ bytes: Span<UInt8>, start: Int, end: Int) -> HeadError? {
    guard let version = httpVersion(bytes, start, end) else { return .invalidStartLine }
    guard version.major == 1, version.minor <= 1 else { return .unsupportedVersion }
    minorVersion = version.minor
    return nil
  }

  /// Takes origin-form, absolute-form and asterisk-form (RFC 9112 §3.2).
  private func parseTarget(_ bytes: Span<UInt8>, start: Int, end: Int) -> HeadError? {
    guard start < end else { return .invalidTarget }
    if bytes[start] == UInt8(ascii: "/") {
      split(bytes, start: start, end: end)
      return nil
    }
    if end - start == 1, bytes[start] == UInt8(ascii: "*") {
      path = start..<end
      query = end..<end
      return method == .options ? nil : .invalidTarget
    }
    let prefix = schemeLength(bytes, start: start, end: end)
    guard prefix > 0 else { return .invalidTarget }
    let authorityStart = start + prefix
    var position = authorityStart
    while position < end, bytes[position] != UInt8(ascii: "/"), bytes[position] != UInt8(ascii: "?") { position += 1 }
    authority = authorityStart..<position
    guard isAuthority(bytes, authority) else { return .invalidHost }
    split(bytes, start: position, end: end)
    return nil
  }

  private func split(_ bytes: Span<UInt8>, start: Int, end: Int) {
    precondition(start <= end && end <= bytes.count, "a target outside the bytes")
    var position = start
    while position < end, bytes[unchecked: position] != UInt8(ascii: "?") { position += 1 }
    path = start..<position
    query = position..<end
  }

  /// The length of `http://` or `https://` at `start`, 0 for anything else.
  private func schemeLength(_ bytes: Span<UInt8>, start: Int, end: Int) -> Int {
    func begins(_ scheme: StaticString) -> Bool {
      let length = scheme.utf8CodeUnitCount
      guard end - start > length else { return false }
      for offset in 0..<length where bytes[start + offset] | 0x20 != scheme.utf8Start[offset] | 0x20 {
        return false
      }
      return true
    }
    return begins("http://") ? 7 : begins("https://") ? 8 : 0
  }
}

/// The two digits of `HTTP/d.d`, nil for anything else.
func httpVersion(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> (major: Int, minor: Int)? {
  let prefix: StaticString = "HTTP/"
  guard end - start == 8, bytes[start + 6] == UInt8(ascii: ".") else { return nil }
  for offset in 0..<5 where bytes[start + offset] != prefix.utf8Start[offset] { return nil }
  let major = bytes[start + 5] &- UInt8(ascii: "0")
  let minor = bytes[start + 7] &- UInt8(ascii: "0")
  return major <= 9 && minor <= 9 ? (Int(major), Int(minor)) : nil
}

/// Whether `range` is a host name, an IPv4 address or an IPv6 literal, with or without a port of up to five digits.
/// A name may hold all that RFC 3986 §3.2.2 allows, escapes of two hexadecimal digits included. User information and
/// an empty name are refused (RFC 9110 §4.2.4, §7.2).
func isAuthority(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
  var position = range.lowerBound
  let end = range.upperBound
  guard position < end, end <= bytes.count else { return false }
  if bytes[position] == UInt8(ascii: "[") {
    let first = position + 1
    position = first
    while position < end, ByteClass.addressLiteral.contains(bytes[position]) { position += 1 }
    guard position - first >= 2, position < end, bytes[position] == UInt8(ascii: "]") else { return false }
    position += 1
  } else {
    while position < end {
      if bytes[unchecked: position] == UInt8(ascii: "%") {
        guard position + 2 < end, hexadecimalValue(bytes[position + 1]) != nil,
          hexadecimalValue(bytes[position + 2]) != nil
        else { return false }
        position += 3
      } else if ByteClass.registeredName.contains(bytes[unchecked: position]) {
        position += 1
      } else {
        break
      }
    }
    guard position > range.lowerBound else { return false }
  }
  if position == end { return true }
  guard bytes[position] == UInt8(ascii: ":") else { return false }
  let port = position + 1
  if port == end { return true }
  guard let number = decimal(bytes, port, end), end - port <= 5 else { return false }
  return number <= 65_535
}
