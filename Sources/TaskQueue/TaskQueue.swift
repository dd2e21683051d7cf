// TaskQueue: the queue in PostgreSQL: its tables, its statements, and what each of them promises.
//
// The API submits and reads through here, workers claim and complete. It calls `Postgres` and decides nothing about
// time: leases, schedules and retries go by PostgreSQL's clock alone. All SQL of the queue is in this folder, each
// statement beside the type that runs it; a change of tables is a new step at the end of `QueueSchema.swift`.
//
//   submit ──► task (for life) ──► ready ──claim──► lease ──complete──► task.state, result
//                    ▲               ▲                │ worker died
//                    └── scheduled ──┴────────────────┘

public import Basics

/// The bounds of this room.
public enum Limits {
  /// Submissions that go to PostgreSQL in one statement.
  public static let batchRowsMax = 500
  /// Payload bytes that go to PostgreSQL in one statement, unless a single one is larger.
  public static let batchBytesMax = 4 << 20
  /// Batches of submissions under way at once.
  public static let batchesInFlight = 2
  /// Submissions that have to wait before a second batch leaves beside the first: smaller ones cost PostgreSQL more
  /// than the wait for the first one's commit costs them.
  public static let secondBatchRowsMin = 100
  /// So many submissions at once are a sign of clients that come back together.
  public static let crowdMin = 8
  /// How long a batch may be held for them, unless three quarters of them are there earlier.
  public static let holdMax = TimeSpan.milliseconds(3)
  /// Submissions that may wait in one process before callers are told that the queue is too busy.
  public static let submissionsWaitingMax = 20_000
  /// Bytes of input that may wait likewise.
  public static let bytesWaitingMax = 256 << 20
  /// Task ids read in one statement.
  public static let readsPerBatch = 500
  /// Rows examined for one page of a list, however few of them match.
  public static let rowsExaminedPerPage = 5_000
  /// Rows in one page of a list.
  public static let pageRowsMax = 200
}

/// Where in the queue a task waits: a group of kinds that share slots, and a priority in it. Lower numbers are claimed
/// first.
public struct Lane: Hashable, Sendable {
  /// The number in the tables: eight per group.
  public let number: Int16

  /// The lane of `group` (0 to 4,000) with `priority`.
  public init(group: Int16, priority: Priority) {
    number = group * 8 + priority.rawValue
  }

  /// The group whose slots run this lane's tasks.
  public var group: Int16 { number / 8 }

  /// The priority inside the group.
  public static func priority(ofNumber number: Int16) -> Priority { Priority(rawValue: number % 8) ?? .normal }
}

/// How urgent a task is among those of its group.
public enum Priority: Int16, Sendable, CaseIterable {
  case high = 0
  case normal = 1
  case low = 2

  /// As the interface spells it.
  public var name: String {
    switch self {
    case .high: "high"
    case .normal: "normal"
    case .low: "low"
    }
  }
}

/// What has become of a task. `queued` in the tables is `running` while its id stands in a lease.
public enum TaskState: Int16, Sendable, CaseIterable {
  case queued = 0
  case running = 1
  case completed = 2
  case failed = 3
  case cancelled = 4

  /// Whether nothing will change any more.
  public var isTerminal: Bool { rawValue >= 2 }

  /// As the interface spells it.
  public var name: String {
    switch self {
    case .queued: "queued"
    case .running: "running"
    case .completed: "completed"
    case .failed: "failed"
    case .cancelled: "cancelled"
    }
  }

  /// The state spelled `name`, nil for any other word.
  public init?(name: String) {
    guard let state = TaskState.allCases.first(where: { $0.name == name }) else { return nil }
    self = state
  }
}
