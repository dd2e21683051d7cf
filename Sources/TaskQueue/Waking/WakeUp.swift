public import Basics

/// What a NOTIFY tells a worker.
public enum WakeUp: Equatable, Sendable {
  /// Tasks wait for groups of slots, and idle rows were taken for them: `0:12:7,2:1:3`.
  case tasks([Word])
  /// There may be tasks anywhere: an empty payload, or one that is not understood.
  case look
  /// A task becomes ready after this span: `due:1500`, in milliseconds.
  case due(TimeSpan)
  /// A task that this worker runs was cancelled: `cancel:17`.
  case cancelled(Int64)
  /// Somebody has given orders: `orders`.
  case orders

  /// Tasks for one group.
  public struct Word: Equatable, Sendable {
    /// The group of slots.
    public let group: Int16
    /// How many tasks wait.
    public let tasks: Int
    /// The idle row that is gone.
    public let row: Int
  }

  /// What `payload` says. Of a list of words a part that is no `group:tasks:row` is passed over.
  public init(payload: String) {
    let parts = payload.split(separator: ":")
    if payload == "orders" {
      self = .orders
    } else if parts.count == 2, parts[0] == "due", let milliseconds = UInt64(parts[1]), milliseconds < 1 << 40 {
      self = .due(.milliseconds(milliseconds))
    } else if parts.count == 2, parts[0] == "cancel", let id = Int64(parts[1]) {
      self = .cancelled(id)
    } else {
      let words = payload.split(separator: ",").compactMap { part -> Word? in
        let numbers = part.split(separator: ":").compactMap { Int($0) }
        guard numbers.count == 3, let group = Int16(exactly: numbers[0]), numbers[1] > 0 else { return nil }
        return Word(group: group, tasks: numbers[1], row: numbers[2])
      }
      self = words.isEmpty ? .look : .tasks(words)
    }
  }

  /// What a worker sends to all, itself among them, to prove that they hear.
  static let test = "test"
}
