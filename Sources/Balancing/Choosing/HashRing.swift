/// A consistent-hash ring: each name has a number of places on a circle of 64-bit numbers, and a key belongs to the
/// first place clockwise from its own. Only a name that comes or goes moves keys, about one in as many as there are.
///
/// A place is `digest("name#i")`; with the first eight bytes of SHA-256, big-endian, every program that knows the names
/// draws the same ring.
public struct HashRing: Sendable {
  private let positions: [UInt64]
  private let owners: [UInt16]
  /// How many names share the ring.
  let namesCount: Int

  /// A ring of `names` with `virtualNodes` places each. `digest` must spread its inputs evenly.
  public init(
    names: [String], virtualNodes: Int = Limits.virtualNodesPerBackend, digest: ([UInt8]) -> UInt64
  ) {
    precondition(names.count <= Limits.backendsMax, "too many names for a ring")
    var places: [(position: UInt64, owner: UInt16)] = []
    places.reserveCapacity(names.count * virtualNodes)
    for (owner, name) in names.enumerated() {
      for node in 0..<virtualNodes {
        places.append((digest(Array("\(name)#\(node)".utf8)), UInt16(owner)))
      }
    }
    // Two places on one point: the name decides, so that the order of the list does not.
    places.sort { ($0.position, names[Int($0.owner)]) < ($1.position, names[Int($1.owner)]) }
    positions = places.map(\.position)
    owners = places.map(\.owner)
    namesCount = names.count
  }

  /// The index of the first place at or after `position`, going round; nil on an empty ring.
  func firstPlace(from position: UInt64) -> Int? {
    guard !positions.isEmpty else { return nil }
    var low = 0
    var high = positions.count
    while low < high {
      let middle = (low + high) / 2
      if positions[middle] < position { low = middle + 1 } else { high = middle }
    }
    return low == positions.count ? 0 : low
  }

  /// The index of the name that `position` belongs to among those that `isAcceptable` admits, clockwise; nil if none.
  public func owner(of position: UInt64, where isAcceptable: (Int) -> Bool = { _ in true }) -> Int? {
    guard var place = firstPlace(from: position) else { return nil }
    for _ in 0..<owners.count {
      let owner = Int(owners[place])
      if isAcceptable(owner) { return owner }
      place = place + 1 == owners.count ? 0 : place + 1
    }
    return nil
  }

  /// The share of all positions that falls to each name, in the order of the names; sums to 1.
  public var shares: [Double] {
    var shares = [Double](repeating: 0, count: namesCount)
    for (place, owner) in owners.enumerated() {
      // The stretch up to a place belongs to it; the first one reaches back over the end of the circle.
      let previous = positions[place == 0 ? positions.count - 1 : place - 1]
      let stretch = positions.count == 1 ? UInt64.max : positions[place] &- previous
      shares[Int(owner)] += Double(stretch) / 0x1p64
    }
    return shares
  }
}
