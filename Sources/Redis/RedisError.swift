/// Why a command has no answer. Redis only makes this system faster, so callers treat all of these as a miss.
public enum RedisError: Error, Equatable, Sendable, CustomStringConvertible {
  /// There is no connection at the moment; it is being made in the background. The command was not sent.
  case notConnected
  /// Too many failures lately; nothing is sent for a while.
  case circuitOpen
  /// Too many commands wait already; this one was not sent.
  case overloaded
  /// No answer in time. Whether the command was executed is unknown.
  case timeout
  /// The connection broke before the answer. Whether the command was executed is unknown.
  case connectionLost
  /// The server's host has no address, or it does not let us in; `reason` is for a log.
  case cannotConnect(reason: String)
  /// The server sent something that is not its protocol.
  case malformedReply
  /// The server refused the command, in its own words: `OOM …`, `LOADING …`, `WRONGTYPE …`.
  case server(message: String)

  /// One line for a log.
  public var description: String {
    switch self {
    case .notConnected: "not connected"
    case .circuitOpen: "not tried after too many failures"
    case .overloaded: "too many commands are waiting"
    case .timeout: "no answer in time"
    case .connectionLost: "connection lost"
    case .cannotConnect(let reason): "cannot connect: \(reason)"
    case .malformedReply: "malformed reply"
    case .server(let message): message
    }
  }
}
