public import Balancing
import Hashing
import Telemetry

/// The backends at one time: immutable, numbered, replaced as a whole, and sent to each reactor as a message. What
/// chooses among them is a view of it.
public final class BackendSet: Sendable {
  /// Grows with each set.
  public let version: Int
  /// The backends: those for any request first, in the order of `pool`, and behind them the servers of keys.
  public let entries: [BackendEntry]
  /// The names that lead to some of them.
  let names: [String]
  /// How one is chosen for any request.
  public let pool: BackendPool

  private init(version: Int, entries: [BackendEntry], names: [String]) {
    self.version = version
    let anyRequest = entries.filter { $0.purpose == .requests }
    self.entries = anyRequest + entries.filter { $0.purpose == .keys }
    self.names = names
    pool = BackendPool(anyRequest.map(\.backend)) { name in
      SHA256.digest(of: name).bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }
  }

  /// The set that follows this one: entries that are named again live on, others get a free slot.
  func replaced(by backends: [BackendAddress], _ plan: BackendPlan, _ metrics: Metrics) -> BackendSet {
    var used = Set(entries.map(\.backend.slot))
    let next = backends.map { given -> BackendEntry in
      if let known = entries.first(where: { $0.isFor(given) }) {
        known.backend.weight = given.weight
        return known
      }
      let slot = (0...).first { !used.contains($0) } ?? 0
      used.insert(slot)
      return BackendEntry(given, slot: slot, plan, metrics)
    }
    return BackendSet(version: version + 1, entries: next, names: names)
  }

  /// The first set of a process: nobody has looked yet where names lead.
  static func first(_ plan: BackendPlan, _ metrics: Metrics) -> BackendSet {
    BackendSet(version: 0, entries: [], names: plan.names.map(\.name)).replaced(by: plan.backends, plan, metrics)
  }

  /// The servers of keys.
  public var keyServers: ArraySlice<BackendEntry> { entries[pool.backends.count...] }

  /// The backends as they were given, with the weights of now.
  public var given: [BackendAddress] {
    entries.map { entry in
      var given = entry.given
      given.weight = entry.backend.weight
      return given
    }
  }

  /// What a balancer waits for until it is ready: backends that no check has found well yet, and names that have led to
  /// none that is. One more behind a name that has some is no reason to wait.
  public var unchecked: [String] {
    let single = entries.filter { $0.given.origin == nil && $0.backend.health == .unchecked }.map(\.backend.name)
    return single
      + names.filter { name in !entries.contains { $0.given.origin == name && $0.backend.health != .unchecked } }
  }
}
