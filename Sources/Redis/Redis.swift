// Redis: commands and messages over our own sockets, with hiredis' formatter and reply parser.
//
// Called by the roles that share a cache and events (API, worker); calls the reactor for bytes and timers, and TLS
// where they are encrypted. hiredis' own asynchronous client of this version has no timeouts, so only its parser and
// formatter are used. A new command is a method in `RedisClient+Commands.swift`.
//
//   RedisClient            commands, whatever servers there are
//   RedisSubscriber        messages
//   Connection/            one server: a link that is made and made again, its breaker, and who tells where it is
//   Cluster/               many servers, each with a part of the keys

/// The bounds of this room.
public enum Limits {
  /// Commands that may wait for their answers on one connection before more are refused.
  static let pendingMax = 65_536
  /// An answer of more bytes leaves room behind that is given back.
  static let readerKeptBytes = 256 << 10
  /// Bytes of one answer before the connection is given up as broken.
  static let replyBytesMax = 8 << 20
  /// Elements of an array in an answer, likewise.
  static let replyElementsMax: Int32 = 65_536
  /// How long a command may take, in milliseconds, unless configured otherwise.
  static let commandTimeoutMs: UInt64 = 50
  /// How much later than that an answer may be read if our own loop was held up, in milliseconds.
  static let graceMs: UInt64 = 10
  /// How long connecting and logging in may take, in milliseconds.
  static let connectTimeoutMs: UInt64 = 1000
  /// The first pause before connecting again, in milliseconds; doubles, with jitter.
  static let reconnectBaseMs: UInt64 = 20
  /// The longest pause before connecting again, in milliseconds.
  static let reconnectMaxMs: UInt64 = 2000
  /// Failures in a row that open the breaker.
  public static let breakerFailures = 3
  /// How long the breaker stays open the first time, in milliseconds; doubles up to `breakerOpenMaxMs`.
  public static let breakerOpenMs: UInt64 = 200
  /// The longest time that the breaker stays open before it tries again, in milliseconds.
  public static let breakerOpenMaxMs: UInt64 = 2000
  /// Silence on a subscription after which the server is asked whether it is still there, in milliseconds.
  static let heartbeatMs: UInt64 = 2000
  /// How long each Sentinel may take to tell who is master, in milliseconds.
  static let sentinelTimeoutMs: UInt64 = 300
  /// Nodes of a cluster: Redis Cluster is made for so many (its specification, "Redis Cluster goals").
  static let clusterNodesMax = 1000
  /// How often a command is sent on from one node of a cluster to another.
  static let redirectionsMax = 4
  /// How often it is read which node of a cluster has which slots although nothing seems wrong, in milliseconds,
  static let clusterMapMs: UInt64 = 60_000
  /// and the shortest pause between two such looks.
  static let clusterMapPauseMs: UInt64 = 100
  /// How long it may take to remove all keys that begin alike, in milliseconds.
  public static let removalMs: UInt64 = 60_000
  /// Keys looked at by one step of a scan.
  static let scanCount = 500
}
