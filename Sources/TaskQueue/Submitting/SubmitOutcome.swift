/// What became of a submission, told only after the commit.
public enum SubmitOutcome: Sendable, Equatable {
  /// A new task was queued.
  case queued(id: Int64)
  /// An identical task is under way, or one with the key that the client has chosen is there, in whatever state;
  /// nothing was added.
  case underWay(id: Int64, state: TaskState)
  /// An identical task is over; its stored result and the seconds since it was completed.
  case completed(id: Int64, result: [UInt8], ageSeconds: Double)
  /// The key that the client has chosen stands for another task; nothing was added.
  case conflict
}
