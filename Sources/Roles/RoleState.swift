/// How a role is, as `/readyz` tells it.
public struct RoleState: Sendable {
  /// What keeps it from its work; nothing if it is ready.
  public var missing: [String]
  /// What it does its work without for now: slower, or with a result that comes later.
  public var degraded: [String]

  /// A role that lacks nothing, or what is named.
  public init(missing: [String] = [], degraded: [String] = []) {
    self.missing = missing
    self.degraded = degraded
  }
}
