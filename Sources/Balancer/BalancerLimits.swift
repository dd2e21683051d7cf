public import Basics

/// The bounds and deadlines of the balancer.
public enum BalancerLimits {
  /// Bytes read from a socket in one go, into memory that all connections of a reactor share.
  static let receiveBytes = 64 << 10
  /// Bytes of pipelined requests that are moved for one of them; if more wait, the others stay where they are.
  static let pipelinedBytesMoved = 4 << 10
  /// Room for what one read turns into: a rewritten head, and chunk sizes around the data.
  static let sendBytes = 128 << 10
  /// Unsent bytes for a backend at which a client's body is not read any further.
  static let unsentBytesMax = 64 << 10
  /// The same while memory is short; also bytes that are read at once then.
  static let unsentBytesMin = 16 << 10
  /// What a session may own without being counted: that of a small request on its way.
  static let uncountedBytes = 16 << 10
  /// Bytes of a request that are kept so that it can be sent again; a longer one is not repeated once it has begun.
  static let replayBytesMax = 64 << 10
  /// Reads of one session and its link in one turn before others get theirs.
  static let readsPerTurn = 32
  /// Bytes that one session reads in one turn before others get theirs: chunks of one byte take a thousand times the
  /// work of large ones.
  static let bytesPerTurn = 128 << 10
  /// Servers of keys.
  public static let keyServersMax = 64
  /// Requests of one reactor that may wait for a backend.
  static let waitingMax = 1024
  /// How often those that wait look for a backend again, unless one has told of room before.
  static let waitingRetry = TimeSpan.milliseconds(20)
  /// Idle connections kept for one backend on one reactor.
  static let idlePerBackendMax = 256
  /// Requests for the balancer itself that one address may send while there is a rate limit,
  static let ownRequestsMax = 600
  /// within this time.
  static let ownRequestsWindow = TimeSpan.seconds(60 as UInt64)
  /// The largest body of a request to the balancer itself.
  static let localBodyBytesMax = 8 << 10
  /// Bytes of a request that a backend that is vouched for reads in one go: our own do.
  static let wholeReadBytes = 16 << 10
  /// Descriptors that are for neither clients nor backends: health checks, logs, and beside them four a reactor.
  static let descriptorsKept = 32
  /// Client connections of one reactor, as many connections to backends, and fewer where descriptors are few.
  static let clientsMax = 100_000

  /// How a reactor's descriptors are shared out. Each client needs at most one connection to a backend, but there are
  /// more places for clients: where each connection to a backend is taken by a request that lasts, who comes then is
  /// still heard. Requests for the balancer itself are answered, and others are told after a moment to come again,
  /// instead of waiting in the kernel for nobody knows how long.
  static func shares(of descriptors: Int) -> (clients: Int, links: Int) {
    (max(8, descriptors * 11 / 20), max(8, descriptors * 9 / 20))
  }

  /// How long a connection to a backend is kept unused: less than servers usually wait, so that they seldom close
  /// first.
  static let upstreamIdle = TimeSpan.seconds(45 as UInt64)
  /// How long those are kept that a crowd has left behind: all but so many for each backend.
  static let upstreamSurplusIdle = TimeSpan.seconds(5 as UInt64)
  static let upstreamsKept = 1
  /// Requests' buffers that are kept, by connections between two requests or for the next ones.
  static let requestsKeptMax = 256
  /// Buffers and sessions that are freed, and bytes that are given back, before memory goes back to the system, once
  /// things are quiet.
  static let freedMax = 1_000
  static let givenBackMax = 8 << 20
  static let givenBackAtRestMax = 1 << 20
  /// How long a quiet client's connection keeps its buffers.
  static let buffersKept = TimeSpan.seconds(1 as UInt64)
  /// How often unused connections to backends and quiet ones to clients are looked through.
  static let sweep = TimeSpan.seconds(1 as UInt64)
  /// How often a reactor shows that it turns.
  static let turnsSign = TimeSpan.seconds(1 as UInt64)
  /// How long a reactor that turns may at most not have been seen to do so, whoever asks.
  static let turnsShown = TimeSpan.seconds(3 as UInt64)
  /// How long a balancer that stops still takes requests on the connections it has: whoever was about to send one sees
  /// an answer with `Connection: close` instead of an end.
  static let drainGrace = TimeSpan.milliseconds(150)
  /// How long a draining balancer lets requests in progress end.
  public static let drain = TimeSpan.seconds(15 as UInt64)
}
