/// What a NOTIFY tells: how many tasks are new in which group of slots (`0:12,2:1`), so that a process wakes no more of
/// its slots than there is work for. The idle rows of these groups are gone with it. An empty payload means "look
/// everywhere"; `self` is a worker's test of its own hearing.
public struct WakeUp: Equatable, Sendable {
  /// New tasks by group; empty for "look everywhere".
  public let tasks: [Int16: Int]

  /// What `payload` says; a part that is no `group:count` is passed over, and if nothing is left it means everywhere.
  public init(payload: String) {
    var tasks: [Int16: Int] = [:]
    for part in payload.split(separator: ",") {
      let numbers = part.split(separator: ":")
      if numbers.count == 2, let group = Int16(numbers[0]), let count = Int(numbers[1]), count > 0 {
        tasks[group] = count
      }
    }
    self.tasks = tasks
  }

  /// What a worker sends to itself.
  public static let selfTest = "self"
}
