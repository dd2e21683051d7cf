/// Who may ask for a route, for the tests that let each of them ask for all of a role's routes.
public enum Caller: String, CaseIterable, Sendable {
  /// Somebody without any token.
  case nobody
  /// The bearer of a token.
  case user
  /// The bearer of a token with the scope `admin`.
  case admin

  /// The status that it is refused with where whoever has `access` (`open`, `user` or `admin`) is let in; nil if it is
  /// let in too.
  public func refusal(from access: String) -> Int? {
    switch (self, access) {
    case (.nobody, "user"), (.nobody, "admin"): 401
    case (.user, "admin"): 403
    default: nil
    }
  }

  /// A path that `pattern` is for, with 1 in the place of each parameter.
  public static func path(for pattern: String) -> String { pattern.replacing(/\{[^}]*\}/, with: "1") }
}
