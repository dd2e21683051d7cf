/// A statement that is prepared once a connection, on its first use there, and then only named.
public struct PostgresStatement: Sendable, Hashable {
  /// The name under which a server session keeps it; the same name always means the same text.
  public let name: String
  /// The text, with `$1`, `$2`, … for parameters.
  public let sql: String

  /// A statement called `name`.
  public init(_ name: String, _ sql: String) {
    self.name = name
    self.sql = sql
  }

  /// Same name.
  public static func == (left: PostgresStatement, right: PostgresStatement) -> Bool { left.name == right.name }

  /// By name.
  public func hash(into hasher: inout Hasher) { hasher.combine(name) }
}
