/// Lets one caller load a missing value while the others that want it wait for the same answer, so that a value which
/// expires under load is fetched once and not a thousand times.
///
/// A load that fails may have failed for the sake of its leader alone, so one of those who wait leads once more; when
/// that fails too, all hear of it: no herd, and no line in which each fails for itself. A value that is changed while
/// it is loaded overtakes the load: who has waited gets what was loaded, for they asked before, and whoever comes from
/// then on begins another load.
///
/// It is a plain table for one reactor; resuming the waiters is the caller's business.
public struct SingleFlight<Key: Hashable, Waiter> {
  /// One load, for as long as it is on its way.
  public struct Flight: Hashable, Sendable {
    fileprivate let number: Int
  }

  /// What a caller has to do.
  public enum Role: Equatable {
    /// Load the value, then call `land` or `fail`.
    case lead(Flight)
    /// Register with `wait` for the load that is on its way.
    case follow(Flight)
    /// Too many wait already.
    case refused
  }

  /// What comes of a load that has failed.
  public enum Failure {
    /// This one of those who wait is to be told to load the value, and to call `land` or `fail`.
    case elected(Waiter)
    /// All of these are to be told that there is no value.
    case over([Waiter])
  }

  private struct Load {
    let key: Key
    var waiters: [Waiter] = []
    var failures = 0
    var isOvertaken = false
  }

  private var loads: [Flight: Load] = [:]
  /// The loads that callers may wait for.
  private var current: [Key: Flight] = [:]
  private var next = 0
  private let waitersMax: Int

  /// A table without loads, for each of which `waitersMax` may wait.
  public init(waitersMax: Int = Limits.waitersPerFlightMax) {
    self.waitersMax = waitersMax
  }

  /// How many loads are on their way.
  var count: Int { loads.count }

  /// A caller wants the value of `key`.
  public mutating func join(_ key: Key) -> Role {
    if let flight = current[key], let load = loads[flight] {
      return load.waiters.count < waitersMax ? .follow(flight) : .refused
    }
    let flight = Flight(number: next)
    next += 1
    current[key] = flight
    loads[flight] = Load(key: key)
    return .lead(flight)
  }

  /// Registers a caller who was told to follow.
  public mutating func wait(_ waiter: Waiter, for flight: Flight) {
    precondition(loads[flight] != nil, "waited for a load that has landed")
    loads[flight]?.waiters.append(waiter)
  }

  /// The load has ended; called once by whoever led it.
  /// - Returns: those to be told.
  public mutating func land(_ flight: Flight) -> [Waiter] {
    guard let load = loads.removeValue(forKey: flight) else { preconditionFailure("a load landed twice") }
    if current[load.key] == flight { current[load.key] = nil }
    return load.waiters
  }

  /// The load has come to nothing; called by whoever led it, in the place of `land`.
  public mutating func fail(_ flight: Flight) -> Failure {
    guard var load = loads[flight] else { preconditionFailure("a load failed that has landed") }
    load.failures += 1
    guard load.failures < Limits.leadersPerFlightMax, !load.waiters.isEmpty else { return .over(land(flight)) }
    let leader = load.waiters.removeFirst()
    loads[flight] = load
    return .elected(leader)
  }

  /// The value of `key` has changed, or may have: what is loaded of it now must not be kept.
  public mutating func overtake(_ key: Key) {
    guard let flight = current.removeValue(forKey: key) else { return }
    loads[flight]?.isOvertaken = true
  }

  /// The same for all keys.
  public mutating func overtakeAll() {
    current.removeAll()
    for flight in loads.keys { loads[flight]?.isOvertaken = true }
  }

  /// Whether the value has changed since the load began, or may have. Asked before `land`.
  public func isOvertaken(_ flight: Flight) -> Bool { loads[flight]?.isOvertaken ?? true }
}
