/// Which node of a Redis Cluster has which of its 16,384 slots.
struct SlotMap: Equatable {
  /// How a node is asked for it.
  static let question = ["CLUSTER", "SLOTS"].map { Array($0.utf8) }
  /// Slots that a cluster has.
  static let slotCount = 16_384

  /// `host:port` of every node that has a slot, in no order.
  private(set) var nodes: [String] = []
  private var places: [String: Int32] = [:]
  /// For each slot its node's place in `nodes`, -1 if nobody has it.
  private var owners = [Int32](repeating: -1, count: slotCount)

  /// Knows nobody.
  init() {}

  /// Reads the answer of the node at `endpoint`: ranges of slots, with the master of each in front. Ranges that overlap
  /// are none of a cluster, and would take long.
  init?(_ answer: RedisValue, askedAt endpoint: String) {
    guard let ranges = answer.array else { return nil }
    for range in ranges {
      guard let parts = range.array, parts.count >= 3, let first = parts[0].integer, let last = parts[1].integer,
        0 <= first, first <= last, last < SlotMap.slotCount, let master = parts[2].array, master.count >= 2,
        let port = master[1].integer
      else { return nil }
      // A node that does not know its own address leaves it out: it is the one that was asked.
      let host = master[0].bytes.map { String(decoding: $0, as: UTF8.self) } ?? ""
      let node = RedisEndpoint.text(host, String(port), heardAt: endpoint)
      guard let place = place(of: node) else { return nil }
      for slot in Int(first)...Int(last) {
        guard owners[slot] < 0 else { return nil }
        owners[slot] = place
      }
    }
  }

  /// The node that has `slot`.
  func owner(of slot: Int) -> String? {
    owners[slot] < 0 ? nil : nodes[Int(owners[slot])]
  }

  /// `slot` is at `node` now, unless there are too many nodes already.
  mutating func give(_ slot: Int, to node: String) {
    if let place = place(of: node) { owners[slot] = place }
  }

  /// Where `node` stands in `nodes` from now on, nil if there are too many.
  private mutating func place(of node: String) -> Int32? {
    if let place = places[node] { return place }
    guard nodes.count < Limits.clusterNodesMax else { return nil }
    let place = Int32(nodes.count)
    places[node] = place
    nodes.append(node)
    return place
  }

  /// The slot of `key`: CRC16 of the key, or of what stands between its first `{` and the next `}` if that is not
  /// empty (Redis Cluster specification, "Hash tags").
  static func slot(of key: [UInt8]) -> Int {
    var hashed = key[...]
    if let open = key.firstIndex(of: UInt8(ascii: "{")),
      let close = key[(open + 1)...].firstIndex(of: UInt8(ascii: "}")), close > open + 1
    {
      hashed = key[(open + 1)..<close]
    }
    return Int(crc16(hashed)) % slotCount
  }

  /// CRC-16/XMODEM: polynomial 0x1021, nothing reflected, begins with 0.
  private static func crc16(_ bytes: ArraySlice<UInt8>) -> UInt16 {
    var crc: UInt16 = 0
    for byte in bytes { crc = crc << 8 ^ crcTable[Int(UInt8(crc >> 8) ^ byte)] }
    return crc
  }

  private static let crcTable: [UInt16] = (0..<256).map { index in
    var crc = UInt16(index) << 8
    for _ in 0..<8 { crc = crc & 0x8000 == 0 ? crc << 1 : crc << 1 ^ 0x1021 }
    return crc
  }
}
