// VersionedStore: keys whose values have versions, in partitions, each with one owner.
//
// `KeyValueServer` on the floor above answers clients from a `Store`. `Placement` says which partition a key is in and
// which server that stands at: the balancer asks it too, so it knows no sockets. A `Store` has a `Partition` for each
// that it holds: changes of one loop pass share a commit there, and values are answered from memory while nobody else
// can change them. Where they are kept is an engine's business: `StoreEngine` is what it must do; one has a file a
// partition, the other rows in PostgreSQL. `StoreKeeper` is for tools that work on the files.
//
// It calls `Balancing` for the ring, `Caching` for what stays in memory, `Hashing` for SHA-256, `Postgres`, and
// `Reactor` for the threads on which files are waited for.
//
//   Types/    keys, changes and what comes of them
//   SQLite/   the lock of a partition, its file, and the threads beside the reactor that touch it
//   Postgres/ the tables, and all SQL of them
//   Upkeep/   when a log goes into its file, and what tools do with files: taking out, putting in, copying, cleaning
//
// A new thing to ask of the store is a method of `StoreEngine`; a new table is in `PartitionFile+Opening.swift`.

public import Basics

/// The bounds of this room.
public enum Limits {
  /// Bytes of a key,
  public static let keyBytesMax = 512
  /// and of a value as JSON.
  public static let valueBytesMax = 1 << 20
  /// The largest version that a line of an archive may have: what numbers in JSON can be everywhere.
  static let archivedVersionMax = 1 << 53
  /// Partitions of a store.
  public static let partitions = 1...64
  /// Steps of one change: a batch.
  public static let stepsMax = 100
  /// The longest life of a value, in seconds: a hundred years.
  public static let lifetimeSecondsMax = 3_155_760_000
  /// How long the name of a change is remembered,
  static let namesKept = TimeSpan.seconds(86_400 as UInt64)
  /// and how many that are older are forgotten at once.
  static let namesForgottenAtOnce = 500
  /// Changes of a partition that wait before more are refused,
  static let changesWaitingMax = 8192
  /// bytes of values in them,
  static let bytesWaitingMax = 64 << 20
  /// changes that share a commit,
  static let changesPerCommit = 512
  /// and bytes of values of such a commit, but for those of the last change in it.
  static let bytesPerCommit = 4 << 20
  /// How long a read or a commit waits for its turn at a file.
  static let patience = TimeSpan.seconds(5 as UInt64)
  /// Entries of a page of keys or versions.
  public static let pageMax = 1000
  /// Bytes of a page but for the last entry in it.
  static let pageBytesMax = 1 << 20
  /// Revisions that one look for events goes over.
  static let eventsPerLook = 1000
  /// Values that are past their time and become deletions in one commit.
  static let expiriesPerCommit = 200
  /// How often it is looked for such, at the most.
  static let expiryPause = TimeSpan.milliseconds(250)
  /// The same where other servers change a partition, too,
  static let sharedExpiryPause = TimeSpan.seconds(5 as UInt64)
  /// and how often it is looked for their changes while somebody watches.
  static let newsPause = TimeSpan.milliseconds(250)
  /// The largest file whose structure is checked whole before it is used: a larger one would keep its clients waiting.
  static let checkedBytesMax = 256 << 20
  /// Pages in the log of changes after which they go into the file itself.
  static let checkpointPages = 1000
  /// Pages after which the log begins anew, and writers wait for that.
  static let logPagesMax = 16_000
  /// How long, in milliseconds, SQLite waits for a tool that reads a file before it says that it is busy.
  static let busyMs: Int32 = 2000
  /// How often it is looked whether a lock is free before it counts as held, and the pause between, in microseconds.
  static let lockLooks = 4
  static let lockPauseUs: UInt32 = 500
  /// How soon a partition whose file has failed is opened again.
  static let mendPause = TimeSpan.milliseconds(200)
  /// Connections of a server to PostgreSQL.
  static let postgresConnections = 4
  /// Threads that wait for files to be written,
  static let writerThreads = 4
  /// and for files to be read.
  static let readerThreads = 2
  /// How often what nobody needs any more is cleared away, at the most.
  static let tidyPause = TimeSpan.seconds(60 as UInt64)
  /// How long a value stays in memory.
  public static let cacheLifetime = TimeSpan.seconds(1800 as UInt64)
  /// Bytes of memory for a value beside its own and those of its key, about.
  static let cacheEntryBytes = 160
}
