/// What holds for a request as soon as its head was read.
public struct RequestFacts: Equatable, Sendable {
  /// Whether sending it twice means the same as once (RFC 9110 §9.2.2).
  public var isIdempotent = true
  /// Whether the client lets the connection be used again.
  public var keepsAlive = false
  /// Whether the body is whole already, or there is none.
  public var isWhole = true
  /// Whether what has come of the body is not what its framing says.
  public var isBodyMalformed = false
  /// Whether the balancer answers it itself.
  public var isLocal = false
  /// Whether the limiter does not count it: a question that an operator's probes ask must not be answered by it.
  public var isUnlimited = false
  /// Whether the client holds the body back until it is invited (RFC 9110 §10.1.1).
  public var awaitsInvitation = false

  /// A request without a body, after which the connection ends.
  public init() {}
}
