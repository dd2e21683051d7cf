public import Basics

/// The bounds and deadlines of the balancer.
public enum BalancerLimits {
  /// Bytes read from a socket in one go, into memory that all connections of a reactor share.
  static let receiveBytes = 64 << 10
  /// Room for what one read turns into: a rewritten head, and chunk sizes around the data.
  static let sendBytes = 128 << 10
  /// Unsent bytes for a backend at which a client's body is not read any further.
  static let unsentBytesMax = 256 << 10
  /// Bytes of a request that are kept so that it can be sent again; a longer one is not repeated once it has begun.
  static let replayBytesMax = 64 << 10
  /// Reads of one connection in one turn before others get theirs.
  static let readsPerTurn = 16
  /// Requests of one connection begun in one turn before others get theirs.
  static let requestsPerTurn = 64
  /// Times that a request is sent: once, and at most two retries.
  static let attemptsMax = 3
  /// Idle connections kept for one backend on one reactor.
  static let idlePerBackendMax = 256
  /// The largest body of a request to the balancer itself.
  static let localBodyBytesMax = 64 << 10
  /// Bytes of a request that backends are assumed to read in one go: our own do, and it is less than any common
  /// server's buffer.
  static let wholeReadBytes = 4096
  /// Client connections of one reactor.
  public static let clientsMax = 100_000

  /// How long a client may be silent between requests.
  static let clientIdle = TimeSpan.seconds(60 as UInt64)
  /// How long a head may take from its first byte; further bytes do not extend it.
  static let head = TimeSpan.seconds(10 as UInt64)
  /// How long a body may take at least; beyond that it must come at `bodyBytesPerSecondMin`.
  static let bodyGrace = TimeSpan.seconds(30 as UInt64)
  /// The slowest rate at which a body may come after its time of grace.
  static let bodyBytesPerSecondMin = 1024
  /// How long a connection to a backend may take.
  static let connect = TimeSpan.seconds(1 as UInt64)
  /// How long a backend may think before its response begins, and pause within it.
  static let response = TimeSpan.seconds(60 as UInt64)
  /// How long a connection to a backend is kept unused: less than servers usually wait, so that they seldom close
  /// first.
  static let upstreamIdle = TimeSpan.seconds(45 as UInt64)
  /// How long, after an early answer, what the client still sends is read (RFC 9112 §9.6).
  static let linger = TimeSpan.seconds(2 as UInt64)
  /// How much of it is read.
  static let lingerBytesMax = 1 << 20
  /// How often unused connections to backends are looked through.
  static let sweep = TimeSpan.seconds(5 as UInt64)
  /// How long a draining balancer lets requests in progress end.
  public static let drain = TimeSpan.seconds(15 as UInt64)
  /// How soon after the first wish to stop another counts as impatience, in milliseconds.
  static let secondSignalMs: UInt64 = 200
}
