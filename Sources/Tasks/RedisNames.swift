/// Names that all processes of a system share in Redis.
public enum RedisNames {
  /// What keys of cached results begin with; other keys, such as the windows of rate limits, are no cache.
  public static let resultPrefix = "millrace:hash:"
  /// What keys of the cached values of `GET /data` begin with.
  public static let dataPrefix = "millrace:data:"
  /// What keys begin with that people put into the cache themselves.
  public static let entryPrefix = "millrace:cache:"
  /// The channel that tells of tasks that are over: one message a batch, the ids in decimal, separated by commas. It
  /// carries no task data, and whoever misses one finds the truth in the queue.
  public static let doneChannel = "millrace:done"
  /// The channel that tells likewise of tasks that have begun or are some way further.
  public static let changedChannel = "millrace:changed"
  /// The channel on which processes tell each other to forget what they have cached.
  public static let clearChannel = "millrace:clear"

  /// The ids in a message on one of these channels; what is no number is passed over.
  public static func ids(in message: [UInt8]) -> [Int64] {
    message.split(separator: UInt8(ascii: ",")).compactMap { Int64(String(decoding: $0, as: UTF8.self)) }
  }

  /// The message that tells of `ids`.
  public static func message(of ids: [Int64]) -> [UInt8] {
    Array(ids.map(String.init).joined(separator: ",").utf8)
  }
}
