/// What has become of a task. `queued` in the tables is `running` while its id stands in a lease.
public enum TaskState: Int16, Sendable, CaseIterable {
  case queued = 0
  case running = 1
  case completed = 2
  case failed = 3
  case cancelled = 4

  /// Whether nothing will change any more.
  public var isTerminal: Bool { rawValue >= 2 }

  /// As the interface spells it.
  public var name: String {
    switch self {
    case .queued: "queued"
    case .running: "running"
    case .completed: "completed"
    case .failed: "failed"
    case .cancelled: "cancelled"
    }
  }

  /// The state spelled `name`, nil for any other word.
  public init?(name: String) {
    guard let state = TaskState.allCases.first(where: { $0.name == name }) else { return nil }
    self = state
  }
}
