public import Basics

extension HTTPLimits {
  /// How long a client may be silent between requests.
  public static let idle = TimeSpan.seconds(60 as UInt64)
  /// How long a head may take from its first byte; not extended by further bytes.
  public static let head = TimeSpan.seconds(10 as UInt64)
  /// How long a body may take at least; beyond that it must come at `bodyBytesPerSecondMin`.
  public static let bodyGrace = TimeSpan.seconds(10 as UInt64)
  /// The slowest rate at which a body may come after its time of grace.
  public static let bodyBytesPerSecondMin = 1024
  /// Bytes of a request body unless its route says otherwise: past it 413.
  public static let bodyBytesMax = 2 << 20
  /// How long a client may leave a full send buffer untouched.
  public static let writeStall = TimeSpan.seconds(30 as UInt64)
  /// How long, after an early answer, what the client still sends is read, so that the answer is not lost to a reset.
  public static let linger = TimeSpan.seconds(2 as UInt64)
  /// How much of it is read.
  public static let lingerBytesMax = 1 << 20
  /// The largest unwanted body that is read rather than paid for with the connection.
  public static let unwantedBodyBytesMax = 64 << 10
  /// Connections of a server at one time.
  public static let connectionsMax = 20_000
  /// Requests of one connection served in one turn before others get theirs.
  public static let pipelinedPerTurn = 64
}
