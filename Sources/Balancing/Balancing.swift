// Balancing: what decides where a request goes and whether it may go at all.
//
// Called by the balancer (later by the store's gateway too); calls nobody. Nothing here opens a socket or reads a
// clock: several reactors share one `BackendPool` and one `RateLimiter` through atomics (the limiter holds a set of its
// table for a few instructions while it gives a client a place), time and randomness are passed in. A new strategy is
// a case of `Strategy` and a function in `BackendPool+Strategies.swift`. `Choosing` is where a request goes, `Limiting`
// whether it may; beside them stands how a backend is.

/// The bounds of this room.
public enum Limits {
  /// Places of each backend on the hash ring.
  public static let virtualNodesPerBackend = 150
  /// The weight of a backend, inclusive.
  public static let weights = 1...256
  /// Backends of one pool.
  public static let backendsMax = 1024
  /// How many requests in flight a backend seems to have more, for each that it has, while all its answers are bad.
  static let badAnswerCost = 16
  /// What a backend is believed to take, in microseconds, that has given bad answers only.
  static let unknownLatencyUs = 1_000_000
  /// Places of one address's set in the rate table: how many addresses are looked at to find one.
  static let rateTableWays = 8
  /// The most requests that a rate limiter can count in a window; a limit above never limits.
  static let rateCountMax = (1 << 20) - 1
  /// Tries to take the gate of a set in the rate table before the thread gives way to others.
  static let gateSpinsMax = 100
}
