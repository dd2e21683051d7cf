/// Where in the queue a task waits: a group of kinds that share slots, and a priority in it. Lower numbers are claimed
/// first.
public struct Lane: Hashable, Sendable {
  /// The number in the tables: eight per group.
  public let number: Int16

  /// The lane of `group` (0 to 4,000) with `priority`.
  public init(group: Int16, priority: Priority) {
    number = group * 8 + priority.rawValue
  }

  /// The group whose slots run this lane's tasks.
  public var group: Int16 { number / 8 }

  /// Whether a lane is that of tasks whose worker was lost; each of them is run alone.
  static func isOfSuspects(number: Int16) -> Bool { number % 8 == 7 }

  /// The priority inside the group.
  public static func priority(ofNumber number: Int16) -> Priority { Priority(rawValue: number % 8) ?? .normal }
}
