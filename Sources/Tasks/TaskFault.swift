/// Why an attempt has no result. It carries no input.
public struct TaskFault: Error, Sendable {
  /// For the log, and for whoever asks for the task.
  public let reason: String
  /// Whether trying again cannot help.
  public let isFinal: Bool
  /// Whether the attempt was broken off because nobody wants it any more here: it has not failed.
  public let isUnwanted: Bool

  /// A fault; `isFinal` if trying again cannot help.
  public init(_ reason: String, isFinal: Bool) {
    self.init(reason, isFinal: isFinal, isUnwanted: false)
  }

  private init(_ reason: String, isFinal: Bool, isUnwanted: Bool) {
    self.reason = reason
    self.isFinal = isFinal
    self.isUnwanted = isUnwanted
  }

  /// The end of an attempt that nobody wants any more: the task was cancelled, or its worker stops.
  static let unwanted = TaskFault("nobody wants it here any more", isFinal: false, isUnwanted: true)
}
