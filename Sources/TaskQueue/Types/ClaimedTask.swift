public import Basics

/// A task that a worker holds under a lease.
public struct ClaimedTask: Sendable {
  /// Its number.
  public let id: Int64
  /// The lease it was claimed under: the fence that its completion has to pass.
  public let lease: Int64
  /// The kind's name.
  public let kind: String
  /// What to compute from.
  public let payload: [UInt8]
  /// Attempts before this one.
  public let attemptsBefore: Int
  /// Attempts it may have in all.
  public let attemptsMax: Int
  /// What the log should show with it.
  public let trace: String?
  /// How long ago it was submitted when it was claimed.
  public let waited: TimeSpan
}

/// What a worker reports of a task.
public struct Completion: Sendable {
  /// How an attempt ended.
  public enum Outcome: Sendable {
    /// With a result, JSON.
    case completed(result: [UInt8])
    /// For good, with the reason.
    case failed(error: String)
    /// With an error; it goes back to the queue after so many seconds.
    case retry(error: String, afterSeconds: Double)
  }

  /// The task's number.
  public let id: Int64
  /// The lease it was claimed under.
  public let lease: Int64
  /// How it ended.
  public let outcome: Outcome

  /// The report for task `id`, claimed under `lease`.
  public init(id: Int64, lease: Int64, outcome: Outcome) {
    self.id = id
    self.lease = lease
    self.outcome = outcome
  }
}
