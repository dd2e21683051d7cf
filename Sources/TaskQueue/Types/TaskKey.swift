/// What an identical task is found by: 128 bits that are the same for the same task and, being made with a secret,
/// cannot be aimed at another's.
public struct TaskKey: Hashable, Sendable {
  let words: (UInt64, UInt64)

  /// The key whose bytes are `high` and `low`, each big-endian.
  public init(high: UInt64, low: UInt64) {
    words = (high, low)
  }

  /// Whether all bits are the same.
  public static func == (left: TaskKey, right: TaskKey) -> Bool { left.words == right.words }

  /// Feeds the first word: keys are spread evenly already.
  public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }
}
