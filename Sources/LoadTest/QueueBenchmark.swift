import Basics
public import Postgres
public import Reactor
import TaskQueue
public import Telemetry

/// What the queue alone can do: durable submissions, claims and completions a second, without HTTP and without hashing.
/// It wants a database of its own, whose queue it fills and empties.
public final class QueueBenchmark {
  /// What to measure with.
  public struct Options: Sendable {
    /// Tasks per measurement, at most `Limits.tasksMax`.
    public var tasks = 100_000
    /// Connections that claim and complete at once, at most `Limits.connectionsMax`.
    public var connections = 4
    /// Submissions under way at once.
    public var submissionsAtOnce = 1000

    /// 100,000 tasks over four connections.
    public init() {}
  }

  private static let submitConnections = 2
  private let client: PostgresClient
  private let configuration: PostgresConfiguration
  private let helpers: PostgresConnection.Helpers
  private let options: Options
  private let log: Logger

  /// A benchmark of the database that `configuration` names.
  public init(
    _ configuration: PostgresConfiguration, helpers: PostgresConnection.Helpers, options: Options, log: Logger
  ) {
    var configuration = configuration
    configuration.settings += QueueSchema.workerSettings
    // Those that claim, and two that submit.
    configuration.limiter = ConnectionLimiter(max: options.connections + QueueBenchmark.submitConnections)
    self.configuration = configuration
    self.helpers = helpers
    self.options = options
    self.log = log
    client = PostgresClient(configuration, helpers: helpers, log: log, metrics: Metrics())
  }

  /// Runs all measurements and hands each row, its name and tasks a second, to `report` as soon as it is known.
  /// - Throws: `PostgresError`.
  public func run(report: (String, Double) -> Void, on reactor: isolated Reactor) async throws(PostgresError) {
    let connection = try await PostgresConnection.connectPatiently(
      configuration, helpers: helpers, log: log, on: reactor)
    _ = try await Migrator(QueueSchema.migrations, log: log).run(on: connection, on: reactor)
    connection.close(on: reactor)
    client.start(width: QueueBenchmark.submitConnections, on: reactor)
    for batch in [64, 512] {
      report("submit, unique digests", try await measure(submits: true, drains: nil, on: reactor))
      report(
        "claim + complete, \(options.connections) connections, batches of \(batch)",
        try await measure(submits: false, drains: batch, on: reactor))
      report(
        "submit + claim + complete together, batches of \(batch)",
        try await measure(submits: true, drains: batch, on: reactor))
    }
    client.close(on: reactor)
  }

  /// Puts `options.tasks` tasks through what is asked for, and returns how many a second.
  private func measure(
    submits: Bool, drains batch: Int?, on reactor: isolated Reactor
  ) async throws(PostgresError) -> Double {
    let tasks = min(options.tasks, Limits.tasksMax)
    let tally = Tally(toSubmit: submits ? tasks : 0, toComplete: batch == nil ? 0 : tasks)
    let began = MonotonicTime.current()
    if submits {
      let submitter = Submitter(client, retentionSeconds: 3600, log: log, metrics: Metrics())
      for _ in 0..<options.submissionsAtOnce {
        Task.immediate(executorPreference: reactor.queue) { await tally.submit(to: submitter, on: reactor) }
      }
    }
    if let batch {
      for _ in 0..<min(options.connections, Limits.connectionsMax) {
        let connection = try await PostgresConnection.connectPatiently(
          configuration, helpers: helpers, log: log, on: reactor)
        Task.immediate(executorPreference: reactor.queue) {
          await tally.drain(connection, batch: batch, on: reactor)
          connection.close(on: reactor)
        }
      }
    }
    while !tally.isDone { await reactor.sleep(for: .milliseconds(1)) }
    if let failure = tally.failure { throw failure }
    return Double(tasks) / MonotonicTime.current().since(began).seconds
  }
}

/// What is left to do in one measurement, and those who do it.
private final class Tally {
  private var toSubmit: Int
  private var submissionsUnderWay = 0
  private var toComplete: Int
  private var random = SeededRandom.fromSystem()
  private(set) var failure: PostgresError?
  private let lane = Lane(group: 0, priority: .normal)

  init(toSubmit: Int, toComplete: Int) {
    self.toSubmit = toSubmit
    self.toComplete = toComplete
  }

  var isDone: Bool { failure != nil || (toSubmit == 0 && submissionsUnderWay == 0 && toComplete <= 0) }

  func submit(to submitter: Submitter, on reactor: isolated Reactor) async {
    while toSubmit > 0, failure == nil {
      toSubmit -= 1
      submissionsUnderWay += 1
      let digest = (0..<4).flatMap { _ in withUnsafeBytes(of: random.next()) { Array($0) } }
      do {
        _ = try await submitter.submit(
          Submission(kind: "bench", lane: lane, payload: digest, digest: digest), on: reactor)
      } catch {
        failure = error
      }
      submissionsUnderWay -= 1
    }
  }

  func drain(_ connection: PostgresConnection, batch: Int, on reactor: isolated Reactor) async {
    do throws(PostgresError) {
      let claims = Claims(
        worker: try await WorkerPresence.register(name: "bench", connection: connection, on: reactor).id)
      var done: [ClaimedTask] = []
      var floor: Int64 = 0
      var nextSweep = reactor.now
      while toComplete > 0 || !done.isEmpty, failure == nil {
        let turn = try await claims.turn(
          completing: done.map {
            Completion(id: $0.id, lease: $0.lease, outcome: .completed(result: Array(#"{"result":"0123456789"}"#.utf8)))
          }, endedLeases: done.isEmpty ? [] : [done[0].lease], claimingFrom: lane, count: batch, floor: floor,
          connection: connection, on: reactor)
        toComplete -= turn.accepted.count
        done = turn.claimed
        // A worker would sleep until notified; polling an empty queue would only measure itself.
        if done.count < batch / 4 { await reactor.sleep(for: .milliseconds(2)) }
        floor = turn.firstSeq ?? floor
        if reactor.now >= nextSweep {
          floor = 0
          nextSweep = reactor.now + .seconds(1 as UInt64)
        }
      }
    } catch {
      failure = error
    }
  }
}
