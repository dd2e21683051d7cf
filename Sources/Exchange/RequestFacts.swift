/// What holds for a request as soon as its head was read.
public struct RequestFacts: Equatable, Sendable {
  /// Whether sending it twice means the same as once (RFC 9110 §9.2.2).
  public var isIdempotent = true
  /// Whether the client lets the connection be used again.
  public var keepsAlive = false
  /// Whether the body is whole already, or there is none.
  public var isWhole = true
  /// Whether the balancer answers it itself.
  public var isLocal = false

  /// A request without a body, after which the connection ends.
  public init() {}
}
