// Worker: claims tasks, computes, completes; woken by PostgreSQL's NOTIFY and otherwise asleep.
//
// The executable starts one `WorkerProcess`. It calls TaskQueue for every statement, Hashing for the work itself, Redis
// to pass results on, and HTTP for its own endpoints. It keeps nothing that matters: killed at any moment, its leases
// are taken over by the other workers.
//
//   WorkerProcess   lifeline (LISTEN + advisory lock), heartbeat, start and stop
//   SlotGate        where slots of one group sleep, and the idle row that asks to be notified
//   Slot            claim, compute, complete, again
//   WorkRoom        what slots share
//   MemoryAdmission lets argon2 compute only within its memory
//
// What a task computes is not here: a new kind is a file in `Hashing/Kinds`.

public import Basics
public import Hashing
public import Postgres
public import Reactor
public import Redis

/// How a worker process runs.
public struct WorkerConfiguration: Sendable {
  /// Its name in the table of workers and in logs.
  public var name = "worker-1"
  /// How to reach the queue.
  public var postgres = PostgresConfiguration()
  /// How to reach the cache; nil works without one.
  public var redis: RedisConfiguration?
  /// The secret that inputs are sealed with.
  public var secret: SecretKey
  /// The cost of hashes.
  public var parameters = HashKind.Parameters()
  /// Argon2 computations at a time: processors and memory allow no more.
  public var heavySlots = 1
  /// Memory in bytes that argon2 computations may take together, at least what one takes.
  public var memoryBytesMax = 512 << 20
  /// Where its own endpoints are served.
  public var endpoints: [SocketAddress] = []
  /// How long results stay in Redis.
  public var resultTTL = TimeSpan.seconds(3600 as UInt64)
  /// Silence after which other workers take over.
  public var leaseSeconds = 30.0
  /// How often it says that it lives; also how often it looks for tasks that no notification told of.
  public var heartbeat = TimeSpan.seconds(5 as UInt64)
  /// How often it tests that it hears notifications.
  public var selfTest = TimeSpan.seconds(10 as UInt64)
  /// How long a session must have stood before it may take others for dead: after an outage all of them are late.
  public var settledSeconds = 10.0
  /// How long a stop waits for tasks under way.
  public var drain = TimeSpan.seconds(20 as UInt64)
  /// A claim with at most so many bytes of input is computed on the reactor.
  public var inlineBytesMax = 4096

  /// A worker that seals with `secret`.
  public init(secret: SecretKey) {
    self.secret = secret
  }
}

/// The bounds of this room.
public enum Limits {
  /// Tasks claimed at once by slots for short work.
  public static let quickBatch = 512
  /// So many quick tasks since a slot slept are a flow, in which it pauses before it goes to sleep,
  static let flowTasksMin = 8
  /// for so long,
  static let flowPause = TimeSpan.milliseconds(2)
  /// and so often.
  static let flowPauses = 3
  /// Tasks claimed at once by slots for large inputs: at 2 MiB each this bounds the memory.
  public static let bulkyBatch = 16
  /// How soon after the first wish to stop another counts as impatience, in milliseconds.
  public static let secondSignalMs: UInt64 = 200
  /// The largest result that is put into Redis.
  public static let cachedResultBytesMax = 1 << 20
}
