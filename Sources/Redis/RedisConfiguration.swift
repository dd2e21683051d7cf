import Basics

/// Where Redis is and how patient to be with it.
public struct RedisConfiguration: Sendable {
  /// `host:port`, `[address]:port` or `unix:/path`.
  public var endpoint: String
  /// The user to log in as; nil for the default user.
  public var user: String?
  /// The password, nil for none; never printed.
  public var password: String?
  /// The number of the database.
  public var database = 0
  /// How the connection is called in `CLIENT LIST`, blanks and everything beyond ASCII replaced.
  public var clientName = "millrace"
  /// How long a command may take.
  var commandTimeout = TimeSpan.milliseconds(Limits.commandTimeoutMs)
  /// How long connecting and logging in may take.
  var connectTimeout = TimeSpan.milliseconds(Limits.connectTimeoutMs)

  /// A server at `endpoint`, without a password.
  public init(endpoint: String) {
    self.endpoint = endpoint
  }
}
