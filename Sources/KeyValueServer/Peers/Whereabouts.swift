import HTTPSyntax

/// Who answers for the partitions of a list or a watch: whoever has them, be it another server. What nobody has is
/// taken by the server at which it stands, so that to ask for all keys moves none.
struct Whereabouts {
  /// Partitions of this server.
  var here: [Int] = []
  /// Those of others.
  var elsewhere: [(peer: KeyValuePeer, partitions: [Int])] = []

  /// Adds a partition of `peer`.
  mutating func add(_ partition: Int, at peer: KeyValuePeer) {
    if let index = elsewhere.firstIndex(where: { $0.peer == peer }) {
      elsewhere[index].partitions.append(partition)
    } else {
      elsewhere.append((peer, [partition]))
    }
  }

  /// `/partitions/0,3/keys`: where a server is asked for what it has.
  static func target(_ partitions: [Int], _ what: StaticString) -> String {
    "/partitions/\(partitions.map { "\($0)" }.joined(separator: ","))/\(what)"
  }

  /// `name=value` as it stands in a query.
  static func parameter(_ name: StaticString, _ value: [UInt8]) -> String {
    "\(name)=\(String(decoding: PercentEncoding.encoded(value), as: UTF8.self))"
  }
}
