/// What is asked of a token beside a signature.
public struct TokenRules: Sendable {
  /// Who must have made it, and who makes those that are issued; nil: anybody who has a key.
  public var issuer: String?
  /// For whom it must be, and for whom those are that are issued; nil: for anybody.
  public var audience: String?
  /// Whether one without an end is believed.
  public var allowsUnexpiring = false

  /// Asks for an end, and for nothing else.
  public init() {}
}
