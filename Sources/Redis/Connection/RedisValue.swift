/// An answer of the server (RESP2).
public enum RedisValue: Equatable, Sendable {
  /// No such key.
  case null
  /// A number.
  case integer(Int64)
  /// Bytes as they were stored.
  case string([UInt8])
  /// A word of the server: `OK`, `PONG`.
  case status(String)
  /// Several answers.
  case array([RedisValue])
  /// A refusal inside an array; as a whole answer it is thrown instead.
  case error(String)

  /// The bytes of a string or status, nil for everything else.
  public var bytes: [UInt8]? {
    switch self {
    case .string(let bytes): bytes
    case .status(let text): Array(text.utf8)
    default: nil
    }
  }

  /// The number of an integer, nil for everything else.
  public var integer: Int64? {
    if case .integer(let number) = self { number } else { nil }
  }

  /// The elements of an array, nil for everything else.
  public var array: [RedisValue]? {
    if case .array(let elements) = self { elements } else { nil }
  }
}
