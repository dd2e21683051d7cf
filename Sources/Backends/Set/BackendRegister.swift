import Balancing
import Basics
public import Telemetry

/// The backends of one process: the set of now, and the figures of all that there ever were. All of it is immutable or
/// locked, so that several reactors may share it. A byte path has a copy of the set of its own, which follows when it
/// is told of another one.
public final class BackendRegister: Sendable {
  let plan: BackendPlan
  let log: Logger
  /// Rung when the checks have to look anew: at the set of backends, or at one that was ejected.
  let checkBell = Bell()
  private let metrics: Metrics
  private let current: Locked<BackendSet>
  /// The names of all backends that there ever were: their figures are kept, and there is a bound on that.
  private let known = Locked<Set<String>>([])
  private let changed: @Sendable (BackendSet) -> Void

  /// The backends of `plan`, for a process that is told of each further set by `changed`, on any thread.
  public init(
    _ plan: BackendPlan, metrics: Metrics, log: Logger, changed: @escaping @Sendable (BackendSet) -> Void = { _ in }
  ) {
    self.plan = plan
    self.log = log
    self.metrics = metrics
    self.changed = changed
    let set = BackendSet.first(plan, metrics)
    current = Locked(set)
    observe(set)
  }

  /// The backends now.
  public var backends: BackendSet { current.withLock { $0 } }

  /// Puts another set in the place of the present one.
  public func replaceBackends(by backends: [BackendAddress]) {
    let next = current.withLock { set in
      set = set.replaced(by: backends, plan, metrics)
      return set
    }
    observe(next)
    log.info(
      "the backends were replaced",
      [("version", "\(next.version)"), ("backends", next.entries.map(\.backend.name).joined(separator: ","))])
    changed(next)
    checkBell.ring()
  }

  /// Puts the servers that `name` leads to now in the place of those that it led to before; who stays keeps its weight.
  /// - Returns: how many of `members` are in the set: those are left out whose names somebody else has, or of whom no
  ///   figures could be kept.
  func replaceMembers(of name: String, by members: [BackendAddress]) -> Int {
    let present = backends.given
    let others = present.filter { $0.origin != name }
    let kept = members.filter { member in
      mayKnow(member.name) && !others.contains { $0.name == member.name }
    }.prefix(Limits.backendsMax - others.count).map { member in
      var member = member
      let known = present.first { $0.name == member.name && $0.address == member.address }
      if let known { member.weight = known.weight }
      return member
    }
    replaceBackends(by: others + kept)
    return kept.count
  }

  /// Whether figures of a backend called `name` can be kept.
  public func mayKnow(_ name: String) -> Bool {
    known.withLock { $0.contains(name) || $0.count < Limits.backendsMax }
  }

  /// A backend has failed a request at `nowMs`, milliseconds of the monotonic clock. An ejection is told at once.
  public func blame(_ entry: BackendEntry, isLost: Bool, at nowMs: UInt64) {
    let change = entry.backend.requestFailed(at: nowMs, isLost: isLost)
    let policy = entry.backend.policy
    let (old, new) = (change.old.state(at: nowMs, policy: policy), change.new.state(at: nowMs, policy: policy))
    guard old != new else { return }
    checkBell.ring()
    log.warning(
      "a backend changed its state",
      [
        ("backend", entry.backend.name), ("old", old.rawValue), ("new", new.rawValue),
        ("reason", isLost ? "requests lost their connections to it" : "requests failed"),
      ])
  }

  /// Registers the figures of backends that are new; those of one that has left are 0 from then on.
  private func observe(_ set: BackendSet) {
    let prefix = plan.metricsPrefix
    for name in set.entries.map(\.backend.name) where known.withLock({ $0.insert(name).inserted }) {
      func figure(_ number: @escaping @Sendable (Backend) -> Int) -> @Sendable () -> Double {
        { [weak self] in
          let entry = self?.backends.entries.first { $0.backend.name == name }
          return entry.map { Double(number($0.backend)) } ?? 0
        }
      }
      let label = [(name: "backend", value: name)]
      metrics.observed("\(prefix)_in_flight", "Requests sent and not answered yet.", label, figure(\.inFlight))
      metrics.observedCounter(
        "\(prefix)_backend_requests_total", "Requests sent since the start.", label, figure(\.requests))
      metrics.observedCounter(
        "\(prefix)_backend_errors_total", "Requests that failed or were answered badly since the start.", label,
        figure(\.errors))
    }
  }
}
