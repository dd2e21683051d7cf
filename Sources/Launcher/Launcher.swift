// Launcher: the whole system on one machine, for a first look, for development and for small installations.
//
// Called by the executable for `millrace up`; calls the reactor for sockets, signals and timers. It starts PostgreSQL,
// Redis and every role as a process of its own, watches them, starts again what falls, passes their logs on, and stops
// them in order. It knows the roles only as command lines, so a new role is an entry in `Stack.swift`.
//
//   Launch           the order of starting and stopping
//   Stack            the processes of one system, and what each is told
//   Child            one process: started, awaited, started again
//   ChildStarter     the few instructions between fork and exec, run by the hidden command `millrace exec-child`
//   ForeignProgram   the programs of others, and whether their versions will do
//   PostgresServer   the private PostgreSQL: its programs, its data, its settings
//   DataFolder       what lies where under `.millrace/`, and who may use it
//   Readiness        how one knows that a process is up
//   LogPrinter       what all of them say, in one stream
//   Chatter          what nobody has to read of that
//   ProcessList      who runs, written down
//   SystemStatus     how they are, for whoever asks

import Basics

/// The bounds of this room.
public enum Limits {
  /// How long the balancer may wait for answers that do not end until those are asked to stop who give them.
  static let streamsPatience = TimeSpan.seconds(1 as UInt64)
  /// The longest path of a Unix socket in bytes (unix(7): 108 with the final zero).
  static let socketPathBytesMax = 107
  /// Bytes of the longest file name that is put into the folder of sockets.
  static let socketNameBytes = 16
  /// How long anything may take to become ready, in seconds.
  static let readySeconds: UInt64 = 60
  /// How often it is asked meanwhile, in milliseconds.
  static let probeEveryMs: UInt64 = 5
  /// How long one such question may take, in milliseconds.
  static let probeTimeoutMs: UInt64 = 2000
  /// The pause before a child that had ended in good order is started again: it is no sign of trouble, but one that
  /// does nothing but end must not take all of a processor.
  static let orderlyRestartMs: UInt64 = 20
  /// The first pause before a fallen process is started again, in milliseconds; doubles, with jitter.
  static let restartBaseMs: UInt64 = 200
  /// The longest such pause, in milliseconds.
  static let restartMaxMs: UInt64 = 10_000
  /// A process that ran this long in seconds is forgiven its earlier falls.
  static let healthySeconds: UInt64 = 10
  /// Falls before the first readiness after which starting is given up.
  static let startAttemptsMax = 5
  /// Exit codes that say "wrong usage" and "wrong configuration": trying again changes nothing.
  static let hopelessCodes: [Int32] = [2, configurationCode]
  /// Exit codes of our own programs that say "wrong configuration" and "something outside is missing" (sysexits.h).
  static let configurationCode: Int32 = 78
  static let unavailableCode: Int32 = 75
  /// The first versions that will do: statements were measured and tested on PostgreSQL 15, and Redis 6 does not know a
  /// line of `redis.conf`.
  public static let postgresMajorMin = 15
  static let redisMajorMin = 7
  /// How long a start waits for the PostgreSQL of an earlier one to end, in seconds: it may have much to write.
  static let formerServerSeconds: UInt64 = 120
  /// Connections to PostgreSQL that one role keeps open: an API process three, a worker too, and one to spare.
  static let connectionsPerRole = 4
  /// Connections to PostgreSQL beside those of the roles: for psql, measurements, and what PostgreSQL keeps for its
  /// owner.
  static let spareConnections = 40
  /// How long a process may take to stop when asked, in seconds; then it is killed.
  static let stopSeconds: UInt64 = 30
  /// Lines that PostgreSQL or Redis may say at once,
  static let foreignLinesAtOnce = 50
  /// and then in a second; further ones are counted. With a full disk it is thousands.
  static let foreignLinesPerSecond = 2.0
  /// Lines of a child that are held back at most, in case something goes wrong with it.
  static let heldLinesMax = 100
  /// Bytes of a log line before it is cut.
  static let logLineBytesMax = 65_536
}

/// What to start.
public struct LauncherConfiguration: Sendable {
  /// The program whose commands are the roles.
  public var executable: String
  /// The folder for everything that is kept.
  public var dataFolder: String
  /// The address that the balancer listens on.
  public var host = "127.0.0.1"
  /// The port that the balancer listens on; the others follow it, or take what is free.
  public var port: UInt16 = 8000
  /// How many API processes, 1 or more.
  public var apiCount = 3
  /// How many workers, 1 or more.
  public var workerCount = 3
  /// How many compute services.
  public var serviceCount = 2
  /// How many servers of keys, 0 to 64.
  public var keyServerCount = 2
  /// The redis.conf to start Redis with.
  public var redisConfiguration: String
  /// Whether log lines are JSON instead of text.
  public var logsAreJSON = false
  /// Whether also what says that all is well is shown, of the programs of others.
  public var isVerbose = false
  /// Variables for all children, to begin with.
  public var environment: [String: String] = [:]
  /// Variables for the balancer, the API processes, the workers, the compute services and the servers of keys.
  public var roleEnvironments: [String: [String: String]] = [:]

  /// Looks whether a role could start with this command line and environment; called for each before anything starts.
  public var check: @Sendable (_ arguments: [String], _ environment: [String: String]) throws(LaunchError) -> Void =
    { _, _ in }

  /// A system in `dataFolder`, made of commands of `executable`.
  public init(executable: String, dataFolder: String, redisConfiguration: String) {
    self.executable = executable
    self.dataFolder = dataFolder
    self.redisConfiguration = redisConfiguration
  }
}

/// Why the system cannot be started; one sentence for a person, with what to do about it.
public struct LaunchError: Error, Sendable, CustomStringConvertible {
  /// Whose fault it is.
  public enum Kind: Sendable {
    /// Something went wrong.
    case failure
    /// Something outside is missing.
    case missingDependency
    /// Something was configured wrongly.
    case configuration
  }

  /// The sentence.
  public let description: String
  /// Whose fault it is.
  public let kind: Kind

  /// The process whose last line says more, nil if the sentence says all.
  let culprit: String?

  /// An error that is told with this sentence.
  public init(_ description: String, _ kind: Kind = .failure) {
    self.init(description, kind, culprit: nil)
  }

  init(_ description: String, _ kind: Kind = .failure, culprit: String?) {
    self.description = description
    self.kind = kind
    self.culprit = culprit
  }
}
