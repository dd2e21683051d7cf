public import Basics

/// A task that somebody wants to have run.
public struct Submission: Sendable {
  /// The kind's name, which says how a worker computes it.
  public let kind: String
  /// Where it waits.
  public let lane: Lane
  /// The group of slots that runs it.
  public let group: Int16
  /// What the kind computes from, as the worker will get it.
  public let payload: [UInt8]
  /// Whether the payload is to be forgotten when the task is over, also if it failed.
  public let isSecret: Bool
  /// The same for the same task, so that it is found instead of repeated; nil: always a new task.
  public let key: TaskKey?
  /// What `key` stands for, where a client has chosen it: the same key with another fingerprint is a mistake. Its task
  /// is found also if it has failed or was cancelled. Nil for a key that follows from the task.
  let fingerprint: TaskKey?
  /// When it may be run, by PostgreSQL's clock; nil or in the past: at once.
  let runAt: Timestamp?
  /// New tasks of this kind for which one sleeping worker is woken: how many it takes on at once.
  public let tasksPerWakeUp: Int
  /// How many of its lane that are submitted together may share a place in line; 1 where they are claimed one by one.
  let tasksPerPlace: Int
  /// How often it is tried before it counts as failed.
  public let maxAttempts: Int16
  /// What the logs of its worker should show to connect it with its request.
  public let trace: String?

  /// A submission; see the properties.
  public init(
    kind: String, lane: Lane, group: Int16, payload: [UInt8], isSecret: Bool = false, key: TaskKey?,
    fingerprint: TaskKey? = nil, runAt: Timestamp? = nil, tasksPerWakeUp: Int = 128, tasksPerPlace: Int = 1,
    maxAttempts: Int16 = 3, trace: String? = nil
  ) {
    self.kind = kind
    self.lane = lane
    self.group = group
    self.payload = payload
    self.isSecret = isSecret
    self.key = key
    self.fingerprint = fingerprint
    self.runAt = runAt
    self.tasksPerWakeUp = max(1, tasksPerWakeUp)
    self.tasksPerPlace = max(1, tasksPerPlace)
    self.maxAttempts = maxAttempts
    self.trace = trace
  }
}
