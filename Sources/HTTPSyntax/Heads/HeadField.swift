/// Where one field of a head stands in the buffer the head was parsed from. Offsets instead of strings: parsing a head
/// allocates nothing, and a field that is only passed on is copied once, from buffer to buffer.
public struct HeadField: Sendable {
  let nameStart: UInt16
  let nameEnd: UInt16
  let valueStart: UInt16
  let valueEnd: UInt16
  /// Which field it is, if it is one that code here looks at.
  public let known: KnownField

  /// The name's bytes, as they were sent.
  public var name: Range<Int> { Int(nameStart)..<Int(nameEnd) }
  /// The value's bytes without white space around them; they hold no control character but tab.
  public var value: Range<Int> { Int(valueStart)..<Int(valueEnd) }
}

/// How far a parse came.
public enum HeadParse: Equatable, Sendable {
  /// The head is whole and takes the first `bytes` bytes.
  case complete(bytes: Int)
  /// More bytes are needed; parse again with all of them.
  case incomplete
  /// The head must be refused, and the connection closed: where the next message begins is unknown.
  case malformed(HeadError)
}

/// How a message's body is delimited (RFC 9112 §6.3).
public enum BodyFraming: Equatable, Sendable {
  /// There is no body.
  case none
  /// The body has exactly this many bytes.
  case length(Int)
  /// The body comes in chunks and tells its own end.
  case chunked
  /// The body, of a response only, ends with the connection.
  case untilClose
}
