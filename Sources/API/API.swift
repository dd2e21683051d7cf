// API: the HTTP interface for hash tasks: validates, answers from the cache, queues, and lets clients wait.
//
// The executable starts one `APIProcess`; the balancer and people call its routes. It calls Caching for memory, Redis
// for the shared cache and for news of others, TaskQueue and DataItems for everything that must last, Tasks for what
// there is to run, Backends for the compute services behind it, and Tokens for `GET /token`. It is stateless but for
// its L1 caches, so it may be killed at any moment.
//
//   APIProcess        start and stop
//   APIService        what all routes share; routes stand in `APIService+….swift`, one file a group of paths
//   Data/             the values of `GET /data`, and their cache of three levels
//   ResultCache       L1 (memory) and L2 (Redis) of immutable results
//   CompletionBoard   clients that wait for a task
//   ComputeServices   the compute services, and requests to them
//   Readiness         whether a task that is submitted now would be stored, and run soon
//
// A route is one line in `APIService.routes` and a method; a new kind of task needs nothing here.

public import Backends
public import Basics
import Caching
public import Hashing
public import Reactor
public import Redis
public import TaskQueue
public import Tasks
public import Tokens

/// How an API process runs.
public struct APIConfiguration: Sendable {
  /// Its name in answers and logs.
  public var instance = "api-1"
  /// How the service calls itself in `/health`.
  public var service = "hash-api"
  /// Where it listens.
  public var endpoints: [SocketAddress] = []
  /// How to reach the queue.
  public var queue = QueueConfiguration()
  /// How to reach the shared cache; nil works without one.
  public var redis: RedisConfiguration?
  /// The cost of hashes, as workers have it: none that costs more memory is verified.
  public var parameters = TaskParameters()
  /// The secret that inputs of secret kinds are sealed with.
  public var secret: SecretKey
  /// How long results stay in L1 and L2.
  public var cacheTTL = TimeSpan.seconds(3600 as UInt64)
  /// How long tasks that are over are kept in PostgreSQL.
  public var retention = TimeSpan.seconds(604_800 as UInt64)
  /// Results in L1.
  public var l1EntriesMax = 50_000
  /// Bytes of results in L1.
  public var l1BytesMax = 64 << 20
  /// Bytes that this process may take in all: a quarter of it is for bodies and answers in progress, and
  /// as much should be left for L1: the rest is for what all that turns into, and itself.
  public var memoryBytes = 256 << 20
  /// Clients that may wait for a task at a time; further ones get their answer at once.
  public var waitersMax = 4000
  /// How long values of `GET /data` may be answered from caches.
  var dataTimes = LevelTimes()
  /// How long reading a value of `GET /data` takes on purpose.
  public var dataDelay = TimeSpan.milliseconds(0)
  /// The compute services; nil knows none.
  public var services: BackendPlan?
  /// How long an answer of theirs may take.
  public var servicePatience = TimeSpan.seconds(5 as UInt64)
  /// The token that allows admin calls; nil allows none by it.
  public var adminToken: String?
  /// What believes the tokens of users, and of admins; nil believes none.
  public var tokens: TokenAuthority?
  /// Whether `GET /token` gives one of those to whoever asks.
  public var issuesTokens = false
  /// How long such a token lasts, 1 to ten years.
  public var tokenLifetimeSeconds = 3600
  /// Whether a call from the loopback address without forwarding fields is an admin's.
  public var trustsLoopback = false
  /// How long a stop waits for requests under way.
  public var drain = TimeSpan.seconds(10 as UInt64)

  /// An API that seals with `secret`.
  public init(secret: SecretKey) {
    self.secret = secret
  }
}

/// The bounds of this room.
public enum Limits {
  /// The longest a client may wait for a task, in seconds.
  static let waitSecondsMax = 30
  /// Completed ids remembered, so that a completion which overtakes its submission's answer is not missed.
  static let recentCompletionsMax = 65_536
  /// The longest pause between two looks at a waiting client's task although nobody said that it is over.
  static let safetyCheckMax = TimeSpan.seconds(2 as UInt64)
  /// The first such pause, and the only one while no news can arrive.
  static let blindCheck = TimeSpan.milliseconds(200)
  /// How long PostgreSQL may take to tell whether tasks can be run,
  static let readinessPatience = TimeSpan.seconds(1 as UInt64)
  /// and for how long it is believed that they can.
  static let readinessKept = TimeSpan.seconds(1 as UInt64)
  /// Bytes of a request body with one string: 1 MiB of text, each byte of which may be escaped in six.
  static let hashBodyBytesMax = 6 * (1 << 20) + 1024
  /// The subject of tokens that are given to whoever asks.
  static let guestName = "guest"
  /// Strings in one batch.
  static let batchStringsMax = 1000
  /// Bytes of a request body with a password and its hash.
  static let verifyBodyBytesMax = 64 << 10
  /// Bytes of a request body that asks for a long task.
  static let longTaskBodyBytesMax = 16 << 10
  /// How far ahead a task may be scheduled.
  static let runAtAheadMax = TimeSpan.seconds(366 * 86_400 as UInt64)
  /// How often a task may be tried.
  static let attemptsMax: Int16 = 25
  /// How long whoever watches a task hears nothing until a comment says that the connection stands.
  static let eventsComment = TimeSpan.seconds(15 as UInt64)
  /// The longest pause between two looks at a watched task although nobody said that there is something new.
  static let eventsCheckMax = TimeSpan.seconds(60 as UInt64)
  /// The key of `GET /data` without one.
  static let dataKeyUsual = "default"
  /// The longest that a client may have a value answered from caches, in seconds.
  static let dataLifetimeSecondsMax = 3600
  /// How long what people put into the cache stays there unless they say it, in seconds.
  static let entrySecondsUsual = 300
  /// Bytes of a request body with a value, each byte of which may be escaped in six.
  static let dataBodyBytesMax = (256 << 10) + 1024
  /// Values that a process keeps in memory.
  static let dataEntriesMax = 50_000
  /// How long what a compute service has said beside a value is kept.
  static let complexLifetime = TimeSpan.seconds(60 as UInt64)
  /// How long an answer waits for the proof that all changes were heard; then what is in memory is not believed.
  static let dataProofPatience = TimeSpan.milliseconds(500)
  /// How often what has expired is removed beside the values, at the least.
  static let dataPrunePause = TimeSpan.seconds(60 as UInt64)
  /// Requests that one compute service may have in flight.
  public static let serviceInFlightMax = 256
  /// Idle connections kept for one of them.
  static let serviceConnectionsKept = 64
  /// Bytes of an answer of theirs.
  static let serviceAnswerBytesMax = 64 << 10
  /// How often a request is sent again that one of them may have seen.
  static let serviceRetriesMax = 2
  /// How long a request waits for a compute service that can be reached,
  static let serviceWait = TimeSpan.seconds(1 as UInt64)
  /// how often it looks for one,
  static let serviceWaitStep = TimeSpan.milliseconds(20)
  /// and how many may do so.
  static let serviceWaitersMax = 1024
  /// Bytes of a string to be hashed.
  static let stringBytesMax = 1 << 20
}
