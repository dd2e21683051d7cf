/// A line in the queue: where the tasks of one kind wait, or those of them that are of a like size.
public struct TaskLine: Sendable, Equatable {
  /// The number in the queue's tables, no other line's. It is never given to another kind, for tasks of the former may
  /// wait.
  public let number: Int16
  /// The slots that run its tasks.
  public let slots: SlotClass

  /// Line `number`, run by `slots`.
  public init(_ number: Int16, _ slots: SlotClass) {
    self.number = number
    self.slots = slots
  }
}
