extension TaskKind {
  /// All kinds there are.
  public static let all: [TaskKind] = hashes + [.argon2verify, .longtask]

  /// Those that make a hash of a string.
  public static let hashes: [TaskKind] = [.md5, .sha256, .argon2]

  /// The numbers of all lines whose tasks `slots` run, those with the shortest tasks first.
  public static func lines(of slots: SlotClass) -> [Int16] {
    let classes = slots.isForSuspects ? SlotClass.all : [slots]
    return classes.flatMap { size in all.flatMap(\.lines).filter { $0.slots == size }.map(\.number) }
  }

  /// The kind called `name`, nil for any other name.
  public static func named(_ name: String) -> TaskKind? {
    all.first { $0.name == name }
  }
}
