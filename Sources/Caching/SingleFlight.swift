/// Lets one caller load a missing value while the others that want it wait for the same answer, so that a value which
/// expires under load is fetched once and not a thousand times.
///
/// It is a plain table for one reactor; resuming the waiters is the caller's business.
public struct SingleFlight<Key: Hashable, Waiter> {
  /// What a caller has to do.
  public enum Role: Equatable {
    /// Load the value, then call `land`.
    case lead
    /// Register with `wait` for the load that is on its way.
    case follow
    /// Too many wait already.
    case refused
  }

  private var flights: [Key: [Waiter]] = [:]

  /// A table without loads.
  public init() {}

  /// How many loads are on their way.
  public var count: Int { flights.count }

  /// A caller wants the value of `key`.
  public mutating func join(_ key: Key) -> Role {
    if let waiters = flights[key] { return waiters.count < Limits.waitersPerFlightMax ? .follow : .refused }
    flights[key] = []
    return .lead
  }

  /// Registers a caller who was told to follow.
  public mutating func wait(_ waiter: Waiter, for key: Key) {
    precondition(flights[key] != nil, "waited for a load that has landed")
    flights[key]?.append(waiter)
  }

  /// The load has ended, with a value or without; called once by whoever led it.
  /// - Returns: those to be told.
  public mutating func land(_ key: Key) -> [Waiter] {
    guard let waiters = flights.removeValue(forKey: key) else { preconditionFailure("a load landed twice") }
    return waiters
  }
}
