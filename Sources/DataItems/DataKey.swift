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

  /// Whether both are the same bytes, as PostgreSQL and Redis have it: to Swift a letter with an accent is also what is
  /// written as the letter and its accent (Unicode's canonical equivalence), and that is another key.
  public static func == (left: DataKey, right: DataKey) -> Bool {
    left.space == right.space && left.text.utf8.elementsEqual(right.text.utf8)
  }

  /// The bytes likewise.
  public func hash(into hasher: inout Hasher) {
    hasher.combine(space)
    var text = text
    text.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
  }
}
