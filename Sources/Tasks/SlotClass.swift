/// Slots of a worker that run tasks of a like size, so that a backlog of long ones never keeps short ones waiting.
public struct SlotClass: Sendable, Equatable {
  /// The number of these slots in the queue's tables.
  public let group: Int16
  /// How it is called in logs.
  public let name: String
  /// How many slots a worker has of it; nil for as many as it is configured to compute heavy tasks at once.
  public let slots: Int?
  /// Tasks that are claimed at once.
  public let claimMax: Int
  /// New tasks for which it is worth to wake one more worker.
  public let tasksPerWakeUp: Int
  /// Whether tasks come in flows, in which a slot rests for a moment before it goes to sleep.
  public let isInFlows: Bool

  /// Microseconds each: claimed and completed by the hundred.
  public static let quick = SlotClass(
    group: 0, name: "quick", slots: 1, claimMax: 512, tasksPerWakeUp: 128, isInFlows: true)
  /// Megabytes each: claimed by the dozen, which bounds the worker's memory.
  public static let bulky = SlotClass(
    group: 1, name: "bulky", slots: 1, claimMax: 16, tasksPerWakeUp: 8, isInFlows: false)
  /// A good part of a second and much memory each: claimed one by one, as slots become free.
  public static let heavy = SlotClass(
    group: 2, name: "heavy", slots: nil, claimMax: 1, tasksPerWakeUp: 1, isInFlows: false)

  /// Seconds or minutes each, most of which they wait: claimed one by one, and many at once.
  public static let long = SlotClass(
    group: 3, name: "long", slots: 8, claimMax: 1, tasksPerWakeUp: 1, isInFlows: false)

  /// Tasks of any size whose worker was lost. One at a time in a worker: should one of them be what ended it, it ends
  /// it alone. That has a price: behind a long one others wait, unless another worker takes them.
  public static let suspect = SlotClass(
    group: 4, name: "suspect", slots: 1, claimMax: 1, tasksPerWakeUp: 1, isInFlows: false)

  /// How many of its tasks that are submitted together may share a place in line: little of what is claimed at once, so
  /// that several workers can share a crowd of them.
  public var tasksPerPlace: Int { max(1, claimMax / 16) }

  /// Whether its tasks are those whose worker was lost, and not those of a size.
  public var isForSuspects: Bool { self == .suspect }

  /// All there are, the shortest tasks first.
  public static let all = [quick, bulky, heavy, long, suspect]
}
