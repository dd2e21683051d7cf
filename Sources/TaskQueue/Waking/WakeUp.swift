/// What a NOTIFY tells: how many tasks wait for which group of slots, and the number of the idle row that was taken for
/// it (`0:12:7,2:1:3`). An empty payload means "look everywhere"; `test` is a test of everybody's hearing.
public struct WakeUp: Equatable, Sendable {
  /// Tasks for one group.
  public struct Word: Equatable, Sendable {
    /// The group of slots.
    public let group: Int16
    /// How many tasks wait.
    public let tasks: Int
    /// The idle row that is gone.
    public let row: Int
  }

  /// One word for each group; none for "look everywhere".
  public let words: [Word]

  /// What `payload` says; a part that is no `group:tasks:row` is passed over, and if nothing is left it means
  /// everywhere.
  public init(payload: String) {
    words = payload.split(separator: ",").compactMap { part in
      let numbers = part.split(separator: ":").compactMap { Int($0) }
      guard numbers.count == 3, let group = Int16(exactly: numbers[0]), numbers[1] > 0 else { return nil }
      return Word(group: group, tasks: numbers[1], row: numbers[2])
    }
  }

  /// What a worker sends to all, itself among them, to prove that they hear.
  static let test = "test"
}
