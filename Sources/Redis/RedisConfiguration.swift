import Basics
public import TLS

/// Where Redis is and how patient to be with it.
public struct RedisConfiguration: Sendable {
  /// `host:port`, `[address]:port` or `unix:/path`; of a cluster, any of its nodes. Sentinels stand in its place.
  public var endpoint: String
  /// The user to log in as; nil for the default user.
  public var user: String?
  /// The password, nil for none; never printed.
  public var password: String?
  /// The number of the database; a cluster has only 0.
  public var database = 0
  /// How the connection is called in `CLIENT LIST`, blanks and everything beyond ASCII replaced.
  public var clientName = "millrace"
  /// Whether keys are spread over the nodes of a cluster (Redis Cluster specification).
  public var isCluster = false
  /// The name of the master that Sentinels are asked for, each time that a connection is made; nil asks nobody.
  public var master: String?
  /// Where the Sentinels are, as for `endpoint`.
  public var sentinels: [String] = []
  /// Their password, nil for none; never printed.
  public var sentinelPassword: String?
  /// With what servers prove who they are, and we do; nil encrypts nothing.
  public var tls: TLSContext?
  /// The name that is to stand in a server's certificate; nil takes any that is signed by whom we trust: Sentinels and
  /// clusters tell addresses, not names.
  public var tlsName: String?
  /// How long a command may take.
  var commandTimeout = TimeSpan.milliseconds(Limits.commandTimeoutMs)
  /// How long connecting and logging in may take.
  var connectTimeout = TimeSpan.milliseconds(Limits.connectTimeoutMs)

  /// A server at `endpoint`, without a password.
  public init(endpoint: String) {
    self.endpoint = endpoint
  }
}
