import Backends
import Balancing
import Basics
import VersionedStore

/// The servers of keys as one reactor sees them: a view of a `BackendSet` that knows where each partition stands.
///
/// Where that is depends on who is alive, so the table is made anew when that changes and not for each request. A
/// server that a request was sent to in vain is dead for this request: it goes where all others go once the rest have
/// found that out, too.
final class KeyServers {
  /// Where requests go that are for no key: to the next one each time.
  private var turn = 0
  private let entries: [BackendEntry]
  private let placement: Placement
  /// Who was alive when `owners` was made, a bit each.
  private var alive: UInt64 = 0
  private var owners: [Int?]

  /// The servers of `set`, whose store has so many partitions.
  init(_ set: BackendSet, partitions: Int) {
    entries = Array(set.keyServers)
    placement = Placement(servers: entries.map(\.backend.name), partitions: partitions)
    owners = Array(repeating: nil, count: partitions)
  }

  /// The server for a request that has tried `excluded`, nil if nobody is left.
  func choose(_ destination: Destination, excluded: UInt64, at now: MonotonicTime) -> BackendEntry? {
    let candidates = candidates(excluded: excluded, nowMs: now.milliseconds)
    guard candidates != 0 else { return nil }
    guard let partition = destination.partition else {
      repeat { turn = (turn + 1) % entries.count } while candidates >> UInt64(turn) & 1 == 0
      return entries[turn]
    }
    if candidates != alive {
      let owners = placement.owners { candidates >> UInt64($0) & 1 == 1 }
      // What holds for one request is not what holds for the next.
      guard excluded == 0 else { return owners[partition].map { entries[$0] } }
      (alive, self.owners) = (candidates, owners)
    }
    return owners[partition].map { entries[$0] }
  }

  private static let fields = JSONFields("partitions")

  /// What is wrong with a server of keys that says this of its health: with another number of partitions than we count
  /// on, each would be sent to several servers in turn.
  static func complaint(_ body: [UInt8], partitions: Int) -> String? {
    var found: Int?
    _ = try? JSONScanner.read(body) { (scanner: inout JSONScanner) throws(JSONError) in
      try scanner.object(fields) { (scanner: inout JSONScanner, _) throws(JSONError) in found = try scanner.integer() }
    }
    guard let found else { return "it is no server of keys" }
    return found == partitions ? nil : "its store has \(found) partitions, not \(partitions): set KV_PARTITIONS"
  }

  /// Who takes requests, a bit each; if nobody does, those that were ever seen alive.
  private func candidates(excluded: UInt64, nowMs: UInt64) -> UInt64 {
    var (fit, last): (UInt64, UInt64) = (0, 0)
    for index in entries.indices {
      uncounted(entries[index].backend) { backend in
        guard excluded & backend.bit == 0 else { return }
        let health = backend.health
        if health.isEligible(at: nowMs) { fit |= 1 << UInt64(index) }
        if health.isLastResort { last |= 1 << UInt64(index) }
      }
    }
    return fit != 0 ? fit : last
  }
}
