/// What the processes that keep values are told of, in a notification that PostgreSQL delivers after the commit.
///
///     v<version> <key>        the key's value is that of this version now, or none
///     e<version> <key>        the same of what somebody has put into the cache itself
///     i<microseconds> <key>   what is kept of the key is to be forgotten, since that time of PostgreSQL's clock
///     a<microseconds>         the same for all keys; since whenever it is heard, if that is the largest number
public enum DataChange: Equatable, Sendable {
  /// The value of `key` is another one since `version`.
  case value(key: DataKey, version: Int64)
  /// What is kept of a key of that text is to be forgotten, since a time in microseconds since 1970.
  case invalidated(key: String, since: Int64)
  /// What is kept of any key is.
  case allInvalidated(since: Int64)

  /// Where they are told.
  static let channel = "millrace_data"

  /// Reads a notification; nil if it is none of these.
  init?(_ payload: String) {
    let parts = payload.dropFirst().split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
    guard let first = parts.first, let number = Int64(first) else { return nil }
    switch (payload.first, parts.count) {
    case ("v", 2): self = .value(key: DataKey(.item, String(parts[1])), version: number)
    case ("e", 2): self = .value(key: DataKey(.entry, String(parts[1])), version: number)
    case ("i", 2): self = .invalidated(key: String(parts[1]), since: number)
    case ("a", 1): self = .allInvalidated(since: number)
    default: return nil
    }
  }
}
