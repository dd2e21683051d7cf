/// Cuts a direction of a PostgreSQL session into its messages (PostgreSQL's manual, "Message Formats").
struct WireFrames {
  /// A message with its header. The first ones of a client have no type; here it is 0.
  struct Frame {
    let type: UInt8
    let bytes: [UInt8]

    /// The name of the statement that a Bind names: behind that of the portal.
    var boundStatement: String? {
      guard type == UInt8(ascii: "B") else { return nil }
      let names = bytes.dropFirst(5).split(separator: 0, maxSplits: 2, omittingEmptySubsequences: false)
      return names.count > 1 ? String(decoding: names[1], as: UTF8.self) : nil
    }

    /// Whether it is a Parse of a LISTEN.
    var listens: Bool {
      type == UInt8(ascii: "P") && String(decoding: bytes, as: UTF8.self).contains("listen millrace")
    }

    /// Whether the server says "ready" once more because of it.
    var isAnsweredByReady: Bool { type == 0 || type == UInt8(ascii: "S") || type == UInt8(ascii: "Q") }
    /// Whether with it the answer to a Bind begins.
    var isBindComplete: Bool { type == UInt8(ascii: "2") }
    var isRow: Bool { type == UInt8(ascii: "D") }
    var isReady: Bool { type == UInt8(ascii: "Z") }
  }

  private var bytes: [UInt8] = []
  private var lacksType: Bool

  /// The frames of what a client sends, or a server.
  init(ofClient: Bool) {
    lacksType = ofClient
  }

  mutating func append(_ more: some Sequence<UInt8>) { bytes += more }

  /// The next whole message.
  mutating func next() -> Frame? {
    let header = lacksType ? 4 : 5
    guard bytes.count >= header else { return nil }
    let length = bytes[(header - 4)..<header].reduce(0) { $0 << 8 | Int($1) } + header - 4
    guard bytes.count >= length else { return nil }
    let frame = Frame(type: lacksType ? 0 : bytes[0], bytes: Array(bytes[..<length]))
    bytes.removeFirst(length)
    lacksType = false
    return frame
  }
}
