/// What a node of a cluster says to a command that is not for it.
struct Redirection: Equatable {
  /// The slot of the key.
  let slot: Int
  /// Where it is to be asked for.
  let node: String
  /// Whether that holds for this command alone, which is to be announced there: the slot is on its way.
  let isOnce: Bool

  /// Reads an answer of the node at `endpoint`: `MOVED 3999 127.0.0.1:6381` or `ASK 3999 127.0.0.1:6381`.
  init?(_ answer: RedisValue, askedAt endpoint: String) {
    guard case .error(let message) = answer else { return nil }
    let words = message.split(separator: " ")
    guard words.count == 3, words[0] == "MOVED" || words[0] == "ASK", let slot = Int(words[1]),
      0..<SlotMap.slotCount ~= slot, let colon = words[2].lastIndex(of: ":")
    else { return nil }
    self.slot = slot
    isOnce = words[0] == "ASK"
    let port = String(words[2][words[2].index(after: colon)...])
    guard UInt16(port) != nil else { return nil }
    node = RedisEndpoint.text(String(words[2][..<colon]), port, heardAt: endpoint)
  }
}
