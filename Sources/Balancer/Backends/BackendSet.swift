import Balancing
import Basics
import Hashing
import Reactor
import Synchronization
import Telemetry

/// A backend as this process knows it: what `Balancing` decides by, and where and how it is reached. It lives on in
/// every set that names the same backend at the same address, and its counters with it.
final class BackendEntry: Sendable {
  let backend: Backend
  let address: SocketAddress
  /// The field that names it to clients.
  let line: [UInt8]
  /// Time to the end of the response.
  let latency: Histogram
  /// How long it keeps unused connections.
  let lifetime = IdleLifetime()
  /// Whether a reset proves that nobody read the request: of our own instances, and where an operator says so.
  let vouchesForResets: Bool
  /// As it was configured or joined.
  let given: BalancerConfiguration.BackendAddress
  /// When it was last checked, milliseconds of the monotonic clock, 0 for never.
  let lastCheck = SharedMoment()

  init(_ given: BalancerConfiguration.BackendAddress, slot: Int, inFlightMax: Int, metrics: Metrics) {
    backend = Backend(name: given.name, slot: slot, weight: given.weight, inFlightMax: inFlightMax)
    address = given.address
    vouchesForResets = given.vouchesForResets
    self.given = given
    line = Array("X-LB-Backend: \(given.name)\r\n".utf8)
    latency = metrics.histogram(
      "millrace_balancer_request_seconds", "From a request's first byte to the end of its answer.",
      [("backend", given.name)])
  }
}

extension BackendEntry {
  /// Whether this is the backend that `other` names, at the same address and trusted in the same way.
  func isFor(_ other: BalancerConfiguration.BackendAddress) -> Bool {
    given.name == other.name && given.address == other.address && given.vouchesForResets == other.vouchesForResets
  }
}

/// The backends at one time: immutable, numbered, replaced as a whole, and sent to each reactor as a message. What
/// chooses among them is a view of it.
final class BackendSet: Sendable {
  /// Grows with each set.
  let version: Int
  let entries: [BackendEntry]
  /// The names that lead to some of them.
  let names: [String]
  /// How one is chosen.
  let pool: BackendPool

  init(version: Int, entries: [BackendEntry], names: [String]) {
    self.version = version
    self.entries = entries
    self.names = names
    pool = BackendPool(entries.map(\.backend)) { name in
      SHA256.digest(of: name).bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }
  }

  /// The set that follows this one: entries that are named again live on, others get a free slot.
  func replaced(
    by backends: [BalancerConfiguration.BackendAddress], inFlightMax: Int, metrics: Metrics
  ) -> BackendSet {
    var used = Set(entries.map(\.backend.slot))
    let next = backends.map { given -> BackendEntry in
      if let known = entries.first(where: { $0.isFor(given) }) {
        known.backend.weight = given.weight
        return known
      }
      let slot = (0...).first { !used.contains($0) } ?? 0
      used.insert(slot)
      return BackendEntry(given, slot: slot, inFlightMax: inFlightMax, metrics: metrics)
    }
    return BackendSet(version: version + 1, entries: next, names: names)
  }

  /// The first set of a balancer: nobody has looked yet where `names` lead.
  static func first(
    _ backends: [BalancerConfiguration.BackendAddress], names: [String] = [], inFlightMax: Int, metrics: Metrics
  ) -> BackendSet {
    BackendSet(version: 0, entries: [], names: names)
      .replaced(by: backends, inFlightMax: inFlightMax, metrics: metrics)
  }

  /// The backends as they were given, with the weights of now.
  var given: [BalancerConfiguration.BackendAddress] {
    entries.map { entry in
      var given = entry.given
      given.weight = entry.backend.weight
      return given
    }
  }

  /// What a balancer waits for until it is ready: backends that no check has found well yet, and names that have led to
  /// none that is. One more behind a name that has some is no reason to wait.
  var unchecked: [String] {
    let single = entries.filter { $0.given.origin == nil && $0.backend.health == .unchecked }.map(\.backend.name)
    return single
      + names.filter { name in !entries.contains { $0.given.origin == name && $0.backend.health != .unchecked } }
  }
}

/// A point in time that one thread writes and others read.
final class SharedMoment: Sendable {
  private let moment: Atomic<UInt64>

  /// The clock's zero, unless `now` is given.
  init(_ now: MonotonicTime = MonotonicTime(nanoseconds: 0)) {
    moment = Atomic(now.milliseconds)
  }

  var ms: UInt64 {
    get { moment.load(ordering: .relaxed) }
    set { moment.store(newValue, ordering: .relaxed) }
  }
}
