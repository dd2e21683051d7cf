// TaskQueue: the queue in PostgreSQL: its tables, its statements, and what each of them promises.
//
// The API submits and reads through a `QueueClient`, workers claim and complete through a `QueueWorker`; both own their
// connections, and nobody above needs to know that there is a PostgreSQL. It calls `Postgres`. What decides is pure and
// tested without it: `WakeProtocol` (who sleeps, who is woken), `BatchPolicy` (when submissions leave), `BeatSchedule`
// (who says when that it lives), `HearingTest` (who hears), `TakeOverPolicy` (who is dead). Leases, schedules and
// retention go by PostgreSQL's clock alone. All SQL of the queue is in this folder; a change of tables is a new step
// at the end of `QueueSchema.swift`.
//
//   submit ──► task (until retention) ──► ready ──claim──► lease ──complete──► task.state, result
//                    ▲                      ▲                │ worker died
//                    └────── scheduled ─────┴────────────────┘

public import Basics

/// The bounds of this room.
public enum Limits {
  /// Submissions that go to PostgreSQL in one statement.
  static let batchRowsMax = 500
  /// Payload bytes that go to PostgreSQL in one statement, unless a single one is larger.
  static let batchBytesMax = 4 << 20
  /// Batches of submissions under way at once.
  static let batchesInFlight = 2
  /// Submissions that have to wait before a second batch leaves beside the first: smaller ones cost PostgreSQL more
  /// than the wait for the first one's commit costs them.
  static let secondBatchRowsMin = 100
  /// So many submissions at once are a sign of clients that come back together.
  static let crowdMin = 8
  /// How long a batch may be held for them, unless three quarters of them are there earlier.
  public static let holdMax = TimeSpan.milliseconds(3)
  /// Submissions that may wait in one process before callers are told that the queue is too busy.
  static let submissionsWaitingMax = 20_000
  /// Bytes of input that may wait likewise.
  public static let bytesWaitingMax = 256 << 20
  /// How often identical tasks that come and go are looked for before the caller is told to try again.
  static let findRounds = 4
  /// How often workers are told of tasks that may have been stored although the connection broke,
  static let tellTries = 20
  /// and how long after the last try.
  static let tellPause = TimeSpan.milliseconds(250)
  /// A task that is scheduled for later than this is heard of with a beat.
  static let dueToldMax = TimeSpan.seconds(30 as UInt64)
  /// How old the start of a look into a line is at least that must find all that is committed.
  static let floorAge = TimeSpan.seconds(1 as UInt64)
  /// How often one looks for sleepers in the whole line: for those whose announcement took longer than `floorAge` to be
  /// committed. Until then the safety sweep of the beats finds what they were not told of.
  static let sleeperSweepPause = TimeSpan.seconds(5 as UInt64)
  /// Rounds of maintenance at a time, each a short transaction.
  static let maintenanceRounds = 64
  /// So many times as long as one that works a worker at rest may go without a beat.
  static let restBeats: UInt64 = 3
  /// How often one looks for claims whose answers were lost while some are about to be old enough.
  static let lookBackPause = TimeSpan.seconds(2 as UInt64)
  /// How much later than a beat was due it has certainly been missed.
  static let beatGrace = TimeSpan.milliseconds(1500)
  /// How long others have, after an outage, to come back before one may take them for dead.
  static let settling = TimeSpan.seconds(10 as UInt64)
  /// How long whoever looks at the queue waits for the answer.
  static let statsPatience = TimeSpan.seconds(10 as UInt64)
  /// Task ids read in one statement.
  static let readsPerBatch = 500
  /// Bytes of results that come with one statement, unless the first one is larger: the others are left for the next.
  static let readBytesMax = 1 << 20
  /// A result of so many bytes is given to those who wait for it one after the other.
  static let largeResultBytes = 64 << 10
  /// Such statements under way at once.
  static let readsAtOnce = 2
  /// How long whoever waits for an answer about tasks gets none from PostgreSQL until it is told so.
  static let patience = TimeSpan.seconds(3 as UInt64)
  /// For how long PostgreSQL counts as unable to write after it could not store tasks.
  static let writeFailureLasts = TimeSpan.seconds(30 as UInt64)
  /// Rows examined for one page of a list, however few of them match.
  static let rowsExaminedPerPage = 5_000
  /// Rows in one page of a list.
  static let pageRowsMax = 200
}
