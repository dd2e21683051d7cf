// Worker: claims tasks, computes, completes; woken by PostgreSQL's NOTIFY and otherwise asleep.
//
// The executable starts one `WorkerProcess`. It calls TaskQueue for every statement, Tasks for the work itself, Redis
// to pass results on, and HTTP for its own endpoints. It keeps nothing that matters: killed at any moment, its leases
// are taken over by the other workers.
//
//   WorkerProcess   start and stop, and what the worker hears
//   Keeper          beat, take-over, promotion, maintenance: what it does for the queue as a whole
//   SlotGate        where slots of one class sleep
//   Slot            claim, compute, complete, again
//   WorkRoom        what slots share
//   RunningTasks    tasks that can be broken off, and how far they are
//   StandingOrders  what people want of the worker
//   MemoryAdmission lets argon2 compute only within its memory
//
// What a task computes is not here: a new kind is a file in `Tasks/Kinds`.

public import Basics
public import Hashing
public import Reactor
public import Redis
public import TaskQueue
public import Tasks

/// How a worker process runs.
public struct WorkerConfiguration: Sendable {
  /// Its name in the table of workers and in logs.
  public var name = "worker-1"
  /// How to reach the queue.
  public var queue = QueueConfiguration()
  /// How to reach the cache; nil works without one.
  public var redis: RedisConfiguration?
  /// The secret that inputs are sealed with.
  public var secret: SecretKey
  /// The cost of hashes.
  public var parameters = TaskParameters()
  /// Argon2 computations at a time: processors and memory allow no more.
  public var heavySlots = 1
  /// Memory in bytes that argon2 computations may take together, at least what one takes.
  public var argon2BytesMax = 512 << 20
  /// Bytes of memory that the process may take beside that: with less it claims fewer tasks at once, and stores
  /// results of large ones sooner.
  public var memoryBytes = Limits.memoryBytesUsual
  /// Where its own endpoints are served.
  public var endpoints: [SocketAddress] = []
  /// How long results stay in Redis.
  public var resultTTL = TimeSpan.seconds(3600 as UInt64)
  /// Silence after which other workers take over, in seconds; with beats of five seconds 21.5 at least.
  public var leaseSeconds = 30.0
  /// How often it says that it lives while it works; also how often some worker looks for tasks that no notification
  /// told of.
  public var heartbeat = TimeSpan.seconds(5 as UInt64)
  /// How long it may hear no notification until it tests whether it hears them.
  var selfTest = TimeSpan.seconds(30 as UInt64)
  /// How long tasks that are over are kept.
  public var retention = TimeSpan.seconds(604_800 as UInt64)
  /// How often partitions are looked after.
  var maintenance = TimeSpan.seconds(60 as UInt64)
  /// How long a stop waits for tasks under way.
  public var drain = TimeSpan.seconds(20 as UInt64)
  /// A claim with at most so many bytes of input is computed on the reactor.
  var inlineBytesMax = 4096

  /// Tasks of one class that are claimed at once: fewer where memory is less than usual.
  func claimMax(of slots: SlotClass) -> Int {
    let share = Double(min(memoryBytes, Limits.memoryBytesUsual)) / Double(Limits.memoryBytesUsual)
    return max(1, Int((Double(slots.claimMax) * share).rounded()))
  }

  /// A worker that seals with `secret`.
  public init(secret: SecretKey) {
    self.secret = secret
  }
}

/// The bounds of this room.
public enum Limits {
  /// So many quick tasks since a slot slept are a flow, in which it rests before it goes to sleep,
  static let flowTasksMin = 8
  /// for so long,
  static let flowRest = TimeSpan.milliseconds(2)
  /// and so often.
  static let flowRests = 3
  /// How long a slot rests between two looks while nobody could tell it of a task.
  static let deafRest = TimeSpan.milliseconds(500)
  /// How long after a failure a withdrawal, a word to others or a promotion is tried again,
  static let secondTry = TimeSpan.milliseconds(250)
  /// and how often a word to others is tried.
  static let relayTries = 20
  /// The memory in bytes that whole claims are meant for.
  public static let memoryBytesUsual = 256 << 20
  /// That part of the memory is for inputs that are computed before what came of them is stored: a result may be six
  /// times as large as its input, and there are several copies of it on its way.
  static let partShare = 64
  /// How long a worker that stops waits for its tasks until it says so.
  static let stopToldAfter = TimeSpan.seconds(1 as UInt64)
  /// How long a worker that stops waits for a PostgreSQL that does not answer, with results to be stored
  static let stopPatience = TimeSpan.seconds(2 as UInt64)
  /// and to say that it leaves.
  static let leavePatience = TimeSpan.seconds(2 as UInt64)
  /// How often a slot that claims looks at all that is ready: for tasks that took long to be committed.
  static let claimSweepPause = TimeSpan.seconds(1 as UInt64)
  /// How often it is stored how far tasks are.
  static let progressPause = TimeSpan.seconds(1 as UInt64)
  /// How long before the end of a stop's patience tasks that wait are broken off, so that they can be given back.
  static let abandonTime = TimeSpan.seconds(1 as UInt64)
  /// At each of so many beats a worker looks for tasks whose worker was lost and that nobody was told of.
  static let suspectBeats = 6
  /// How long the last attempt of such a task waits for tasks that take long,
  static let clearingMax = TimeSpan.seconds(30 as UInt64)
  /// and then for quick ones;
  static let quickClearingMax = TimeSpan.seconds(5 as UInt64)
  /// how often it is asked meanwhile whether it still waits;
  static let clearingLook = TimeSpan.seconds(1 as UInt64)
  /// how long it is alone, and after how long no other one follows at once;
  static let soleRunMax = TimeSpan.seconds(30 as UInt64)
  /// and how much time the others get in any case before the next.
  static let soleRunPauseMin = TimeSpan.seconds(1 as UInt64)
  /// How long after the time of a lease one looks for a claim whose answer was lost.
  static let lookBackAfter = TimeSpan.milliseconds(500)
  /// How often one worker looks what is in the queue.
  static let measurePause = TimeSpan.seconds(15 as UInt64)
  /// The shortest pause between two looks for scheduled tasks.
  static let promotionPause = TimeSpan.milliseconds(20)
}
