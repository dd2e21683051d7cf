/// Who may call a route.
public enum RouteAccess: Sendable {
  /// Anybody.
  case open
  /// Whoever has a token.
  case user
  /// Who may change or reveal the system.
  case admin
}
