extension TaskKind {
  /// All kinds there are.
  public static let all: [TaskKind] = [.md5, .sha256, .argon2]

  /// The kind called `name`, nil for any other name.
  public static func named(_ name: String) -> TaskKind? {
    all.first { $0.name == name }
  }
}
