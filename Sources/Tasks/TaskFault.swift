/// Why an attempt has no result. It carries no input.
public struct TaskFault: Error, Sendable {
  /// For the log, and for whoever asks for the task.
  public let reason: String
  /// Whether trying again cannot help.
  public let isFinal: Bool

  /// A fault; `isFinal` if trying again cannot help.
  public init(_ reason: String, isFinal: Bool) {
    self.reason = reason
    self.isFinal = isFinal
  }
}
