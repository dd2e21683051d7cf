/// How urgent a task is among those of its group.
public enum Priority: Int16, Sendable, CaseIterable {
  case high = 0
  case normal = 1
  case low = 2

  /// As the interface spells it.
  public var name: String {
    switch self {
    case .high: "high"
    case .normal: "normal"
    case .low: "low"
    }
  }
}
