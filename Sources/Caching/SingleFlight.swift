/// Lets one caller load a missing value while the others that want it wait for the same answer, so that a value which
/// expires under load is fetched once and not a thousand times.
///
/// An invalidation that arrives while a load is on its way parts the two: those who already wait get what was asked for
/// before it, but the result must not be stored, and whoever comes after it starts a load of its own. It is a plain
/// table for one reactor; resuming the waiters is the caller's business.
public struct SingleFlight<Key: Hashable, Waiter> {
  /// Names one load.
  public struct Flight: Hashable, Sendable {
    fileprivate let number: UInt64
  }

  /// What a caller has to do.
  public enum Role: Equatable {
    /// Load the value, then call `land`.
    case lead(Flight)
    /// Register with `wait` for the load that is on its way.
    case follow(Flight)
    /// Too many wait already.
    case refused
  }

  /// The end of a load.
  public struct Landing {
    /// Those to be told the result.
    public let waiters: [Waiter]
    /// Whether the result may be stored: no invalidation came in between.
    public let mayStore: Bool
  }

  private struct State {
    let key: Key
    var waiters: [Waiter] = []
    var isStale = false
  }

  private var current: [Key: UInt64] = [:]
  private var flights: [UInt64: State] = [:]
  private var nextNumber: UInt64 = 0

  /// A table without loads.
  public init() {}

  /// How many loads are on their way.
  public var count: Int { flights.count }

  /// A caller wants the value of `key`.
  public mutating func join(_ key: Key) -> Role {
    if let number = current[key], let state = flights[number] {
      return state.waiters.count < Limits.waitersPerFlightMax ? .follow(Flight(number: number)) : .refused
    }
    let number = nextNumber
    nextNumber += 1
    current[key] = number
    flights[number] = State(key: key)
    return .lead(Flight(number: number))
  }

  /// Registers a caller who was told to follow.
  public mutating func wait(_ waiter: Waiter, for flight: Flight) {
    precondition(flights[flight.number] != nil, "waited for a load that has landed")
    flights[flight.number]?.waiters.append(waiter)
  }

  /// The load has ended, with a value or without; called once by whoever led it.
  public mutating func land(_ flight: Flight) -> Landing {
    guard let state = flights.removeValue(forKey: flight.number) else { preconditionFailure("a load landed twice") }
    if !state.isStale { current[state.key] = nil }
    return Landing(waiters: state.waiters, mayStore: !state.isStale)
  }

  /// The value of `key` has changed.
  public mutating func invalidate(_ key: Key) {
    guard let number = current.removeValue(forKey: key) else { return }
    flights[number]?.isStale = true
  }

  /// The values of all keys that `isAffected` names have changed.
  public mutating func invalidateAll(where isAffected: (Key) -> Bool = { _ in true }) {
    for key in current.keys.filter(isAffected) { invalidate(key) }
  }
}
