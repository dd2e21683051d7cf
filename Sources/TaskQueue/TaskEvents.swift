/// How processes tell each other that tasks are over: one message a batch on a Redis channel, the ids in decimal,
/// separated by commas. It carries no task data, and whoever misses one finds the truth in PostgreSQL.
public enum TaskEvents {
  /// The channel's name.
  public static let channel = "millrace:done"

  /// The ids in a message; what is no number is passed over.
  public static func ids(in message: [UInt8]) -> [Int64] {
    message.split(separator: UInt8(ascii: ",")).compactMap { Int64(String(decoding: $0, as: UTF8.self)) }
  }
}
