import Balancing
import Hashing

/// Which partition a key is in, and at which server a partition stands: decisions only, the same for everybody who
/// knows the same names.
///
///     key ──SHA-256──► mod P ──► partition ──SHA-256──► its place on the ring ──► the first server clockwise that is
///                                                       150 places a server       alive and has fewer than
///                                                                                 ceil(P / servers alive)
///
/// The bound keeps the spread even, which the ring alone does not for so few partitions. A server that comes or goes
/// moves its own partitions, and few of others, where the bound made these stand elsewhere.
public struct Placement: Sendable {
  /// The servers' names; what follows speaks of positions in them.
  public let servers: [String]
  /// How many partitions there are.
  public let partitions: Int
  private let ring: HashRing
  private let places: [UInt64]

  /// `partitions` partitions on `servers`, whose names differ.
  public init(servers: [String], partitions: Int) {
    precondition(Limits.partitions.contains(partitions), "too few partitions, or too many")
    self.servers = servers
    self.partitions = partitions
    ring = HashRing(names: servers) { SHA256.digest(of: $0).ringPosition }
    places = (0..<partitions).map { SHA256.digest(of: Array("partition#\($0)".utf8)).ringPosition }
  }

  /// The partition of `key`, of `partitions`: the digest of what decides, a number of 32 bytes, modulo their count.
  public static func partition(of key: StoreKey, of partitions: Int) -> Int {
    key.bytes.withUnsafeBytes { partition(ofKey: $0, of: partitions) }
  }

  /// The partition of the key with these bytes, for whoever sends requests on and has nothing but them.
  public static func partition(ofKey bytes: UnsafeRawBufferPointer, of partitions: Int) -> Int {
    partition(placed: StoreKey.tag(in: bytes).map { UnsafeRawBufferPointer(rebasing: bytes[$0]) } ?? bytes, partitions)
  }

  /// The one partition that all keys with this beginning are in, nil if they may be in several.
  public static func partition(ofPrefix prefix: [UInt8], of partitions: Int) -> Int? {
    if partitions == 1 { return 0 }
    return prefix.withUnsafeBytes { bytes in
      StoreKey.tag(in: bytes).map { partition(placed: UnsafeRawBufferPointer(rebasing: bytes[$0]), partitions) }
    }
  }

  private static func partition(placed: UnsafeRawBufferPointer, _ partitions: Int) -> Int {
    SHA256.digest(of: placed).remainder(dividingBy: partitions)
  }

  /// The server at which each partition stands while those are alive that `isAlive` says; nil for all if nobody is.
  public func owners(alive isAlive: (Int) -> Bool) -> [Int?] {
    let alive = servers.indices.map(isAlive)
    let count = alive.count { $0 }
    guard count > 0 else { return Array(repeating: nil, count: partitions) }
    let most = (partitions + count - 1) / count
    var held = Array(repeating: 0, count: servers.count)
    return places.map { place in
      let owner = ring.owner(of: place) { alive[$0] && held[$0] < most }
      if let owner { held[owner] += 1 }
      return owner
    }
  }

  /// How much of the ring is each server's, bound aside; sums to 1.
  public var shares: [Double] { ring.shares }
}
