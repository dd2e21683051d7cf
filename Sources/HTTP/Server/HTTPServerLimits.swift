public import Basics
public import HTTPSyntax

/// How long a server waits for a client.
public struct HTTPServerTimes: Sendable {
  /// How long a client may be silent between requests.
  public var idle = TimeSpan.seconds(60 as UInt64)
  /// How long a head may take from its first byte, not extended by further bytes; also how long the first request of a
  /// connection may be awaited.
  public var head = TimeSpan.seconds(10 as UInt64)
  /// How long each step of `Pace` of a body may take, or what is left of it.
  public var body = TimeSpan.seconds(10 as UInt64)
  /// How long a client may take for each step of `Pace` of an answer that waits to be sent. A balancer is a client that
  /// takes nothing while its own takes little: it must have time to find out.
  var writeStall = TimeSpan.seconds(45 as UInt64)
  /// How long, after an early answer, what the client still sends is read at the most, so that the answer is not lost
  /// to a reset (RFC 9112 §9.6).
  public var linger = TimeSpan.seconds(30 as UInt64)
  /// How long a client may be silent meanwhile.
  public var lingerSilence = TimeSpan.seconds(2 as UInt64)
  /// How long a server that stops still takes requests on the connections it has: whoever was about to send one sees an
  /// answer with `Connection: close` instead of a reset.
  var drainGrace = TimeSpan.milliseconds(150)

  /// The times above.
  public init() {}
}

extension HTTPLimits {
  /// Bytes of a request body unless its route says otherwise: past it 413.
  public static let bodyBytesMax = 64 << 10
  /// Bytes of the name that a client gives a request.
  static let idempotencyKeyBytesMax = 255
  /// Bytes of bodies and answers that a server holds at a time unless it is given a budget.
  static let bufferedBytesMax = 64 << 20
  /// Bytes of an answer that are handed to the stream at once, and counted.
  static let answerPieceBytes = 32 << 10
  /// Clients that take less in a second make room for parts of bodies that wait for memory.
  static let slowBytesPerSecond = 1_048_576.0
  /// How often it is looked whether there is some,
  static let memoryLook = TimeSpan.milliseconds(2)
  /// and how long nobody counts as slow who has not taken anything yet.
  static let begunPause = TimeSpan.milliseconds(20)
  /// Bytes up to which a peer's work is small: the last eighth beside a budget is for such.
  static let smallLeaseBytes = 8 << 10
  /// About what a connection that has ended has freed.
  static let connectionBytes = 8 << 10
  /// Bytes that were freed after which the system gets their memory, fewer while nothing is held,
  static let trimBytes = 8 << 20
  static let trimBytesAtRest = 1 << 20
  /// and how long after.
  static let trimPause = TimeSpan.seconds(1 as UInt64)
  /// The largest unwanted body that is read rather than paid for with the connection.
  static let unwantedBodyBytesMax = 64 << 10
  /// How long a quiet connection keeps its buffers.
  static let buffersKept = TimeSpan.seconds(1 as UInt64)
  /// How long, while there is no room for others, a connection is waited for that has just come.
  public static let firstRequestAwaited = TimeSpan.milliseconds(100)
  /// Descriptors that are not for clients: listeners, databases, event loops, logs.
  static let descriptorsKept = 64
  /// Connections of a server at one time, fewer where descriptors are few.
  public static let connectionsMax = 20_000
  /// Requests of one connection served in one turn before others get theirs.
  static let pipelinedPerTurn = 64
}
