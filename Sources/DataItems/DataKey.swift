/// What a value is asked for by, in one of two spaces that know nothing of each other.
public struct DataKey: Hashable, Sendable {
  /// Where it is a key.
  public enum Space: Sendable {
    /// The values of `GET /data`, which last.
    case item
    /// What somebody has put into the cache itself.
    case entry
  }

  /// Where it is a key.
  public let space: Space
  /// The key.
  public let text: String

  /// A key of that text.
  public init(_ space: Space, _ text: String) {
    (self.space, self.text) = (space, text)
  }
}
