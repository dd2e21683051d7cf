public import Basics

/// A task as the interface shows it.
public struct TaskRecord: Sendable {
  /// Its number.
  public let id: Int64
  /// The kind's name.
  public let kind: String
  /// How urgent it is.
  public let priority: Priority
  /// What has become of it.
  public let state: TaskState
  /// How often it was begun.
  public let attempts: Int
  /// The stored result, JSON; nil unless completed.
  public let result: [UInt8]?
  /// Why the last attempt failed.
  public let error: String?
  /// The share that is done, 0 to 1, of a task that runs and has told.
  public let progress: Double?
  /// When it was queued.
  public let createdAt: Timestamp
  /// When its last attempt began.
  public let startedAt: Timestamp?
  /// When it was over.
  public let completedAt: Timestamp?
}
