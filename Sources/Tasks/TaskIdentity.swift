public import Hashing

/// What an identical task is known by. The input, which may be long, is hashed once; everything else follows from that.
public struct TaskIdentity: Hashable, Sendable {
  private let kind: String
  private let input: Digest256

  /// The identity of a task of `kind` with `input`; nil for a kind of which each task is one of its own.
  public init?(_ kind: TaskKind, _ input: [UInt8]) {
    guard kind.isShared else { return nil }
    self.kind = kind.name
    self.input = SHA256.digest(of: input)
  }

  /// Whether kind and input are the same.
  public static func == (left: TaskIdentity, right: TaskIdentity) -> Bool {
    left.input == right.input && left.kind == right.kind
  }

  /// Feeds the input's digest: it is spread evenly already.
  public func hash(into hasher: inout Hasher) { hasher.combine(input) }

  /// The key of the result in Redis, `millrace:hash:<kind>:<hex of SHA-256(input)>`.
  public var redisKey: [UInt8] { Array((RedisNames.resultPrefix + kind + ":").utf8) + input.hex }

  /// 128 bits that stand for the task in the queue. With the secret of `codes` in them nobody can make two tasks that
  /// share them.
  public func key(under codes: HMACSHA256) -> (high: UInt64, low: UInt64) {
    // The digest at the end has a fixed length, so that nothing can be moved from it to the kind's name or back.
    codes.words(of: Array(kind.utf8) + input.bytes)
  }
}
