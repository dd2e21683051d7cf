/// Where in the queue a task waits: a line of kinds that share slots, and a priority in it.
public struct Lane: Hashable, Sendable {
  /// The number in the tables: eight per line.
  public let number: Int16

  /// The lane of `line` (0 to 4,000) with `priority`.
  public init(line: Int16, priority: Priority) {
    number = line * 8 + priority.rawValue
  }

  init(number: Int16) {
    self.number = number
  }

  /// The line that it is part of.
  public var line: Int16 { number / 8 }

  /// The lane of those tasks of `line` whose worker was lost, whatever their priority; a worker runs
  /// one at a time.
  public static func suspects(of line: Int16) -> Lane { Lane(number: line * 8 + 7) }

  /// Whether it is that of tasks whose worker was lost.
  var isOfSuspects: Bool { number % 8 == 7 }

  /// The priority inside the line.
  public static func priority(ofNumber number: Int16) -> Priority { Priority(rawValue: number % 8) ?? .normal }
}
