import Basics
public import Reactor
import TaskQueue
public import Telemetry

/// What the queue alone can do: durable submissions, claims and completions a second, without HTTP and without hashing.
/// It wants a `BenchmarkDatabase`, whose queue it fills and empties.
public final class QueueBenchmark {
  /// What to measure with.
  public struct Options: Sendable {
    /// Tasks per measurement, at most `Limits.tasksMax`.
    public var tasks = 100_000
    /// Connections that claim and complete at once, at most `Limits.connectionsMax`.
    public var connections = 4
    /// Submissions under way at once.
    var submissionsAtOnce = 1000

    /// 100,000 tasks over four connections.
    public init() {}
  }

  private static let submitConnections = 2
  private let client: QueueClient
  private let worker: QueueWorker
  private let database: BenchmarkDatabase
  private let pool: ComputePool
  private let options: Options
  private let log: Logger
  private let deaf = Deaf()
  private var tally: Tally?
  private var isStopped = false

  /// A benchmark of `database`; `pool` has threads for what blocks.
  public init(_ database: BenchmarkDatabase, pool: ComputePool, options: Options, log: Logger) {
    let configuration = database.queue
    self.database = database
    self.pool = pool
    self.options = options
    self.log = log
    var submitting = configuration
    submitting.width = QueueBenchmark.submitConnections
    client = QueueClient(submitting, pool: pool, log: log, metrics: Metrics())
    var working = configuration
    working.width = min(options.connections, Limits.connectionsMax)
    worker = QueueWorker(working, name: "bench", pool: pool, log: log, metrics: Metrics())
  }

  /// Connections that a benchmark with `options` needs.
  public static func connections(_ options: Options) -> Int {
    // Those that claim, those that submit, and the worker's lifeline.
    min(options.connections, Limits.connectionsMax) + submitConnections + 1
  }

  /// Runs all measurements and hands each row, its name and tasks a second, to `report` as soon as it is known.
  /// - Throws: `BenchmarkDatabase.Failure`.
  public func run(
    report: (String, Double) -> Void, on reactor: isolated Reactor
  ) async throws(BenchmarkDatabase.Failure) {
    do throws(QueueError) {
      _ = try await QueueSchema.migrate(database.queue, pool: pool, log: log, on: reactor)
    } catch {
      throw .queue(error)
    }
    try await database.mark(pool: pool, log: log, on: reactor)
    let outcome: Result<Void, BenchmarkDatabase.Failure>
    do throws(BenchmarkDatabase.Failure) {
      try await measureAll(report: report, on: reactor)
      outcome = .success(())
    } catch {
      outcome = .failure(error)
    }
    try? await worker.leave(until: reactor.now + Limits.leavePatience, on: reactor)
    worker.close(on: reactor)
    client.close(on: reactor)
    try outcome.get()
  }

  /// Ends what is measured: `run` throws `stopped` soon.
  public func stop() {
    isStopped = true
    tally?.stop()
    deaf.ready.end()
  }

  private func measureAll(
    report: (String, Double) -> Void, on reactor: isolated Reactor
  ) async throws(BenchmarkDatabase.Failure) {
    client.start(on: reactor)
    worker.start(deaf, on: reactor)
    await deaf.ready.wait(until: .never, on: reactor)
    for batch in [64, 512] {
      report("submit, unique digests", try await measure(submits: true, drains: nil, on: reactor))
      report(
        "claim + complete, \(options.connections) connections, batches of \(batch)",
        try await measure(submits: false, drains: batch, on: reactor))
      report(
        "submit + claim + complete together, batches of \(batch)",
        try await measure(submits: true, drains: batch, on: reactor))
    }
  }

  /// Puts `options.tasks` tasks through what is asked for, and returns how many a second.
  private func measure(
    submits: Bool, drains batch: Int?, on reactor: isolated Reactor
  ) async throws(BenchmarkDatabase.Failure) -> Double {
    let tasks = min(options.tasks, Limits.tasksMax)
    let tally = Tally(toSubmit: submits ? tasks : 0, toComplete: batch == nil ? 0 : tasks)
    self.tally = tally
    if isStopped { throw .stopped }
    let began = MonotonicTime.current()
    if submits {
      for _ in 0..<options.submissionsAtOnce {
        Task.immediate(executorPreference: reactor.queue) { await tally.submit(to: self.client, on: reactor) }
      }
    }
    if let batch {
      for _ in 0..<min(options.connections, Limits.connectionsMax) {
        Task.immediate(executorPreference: reactor.queue) {
          await tally.drain(self.worker, batch: batch, on: reactor)
        }
      }
    }
    while !tally.isDone, !isStopped { await reactor.sleep(for: .milliseconds(1)) }
    if let failure = tally.failure { throw failure }
    return Double(tasks) / MonotonicTime.current().since(began).seconds
  }
}

/// Does not act on what the worker hears: a benchmark never sleeps.
private final class Deaf: QueueListener {
  let ready = Pause()
  func listening(on reactor: isolated Reactor) { ready.end() }
  func deafened(on reactor: isolated Reactor) {}
  func heard(_ wakeUp: WakeUp, on reactor: isolated Reactor) {}
}

/// What is left to do in one measurement, and those who do it.
private final class Tally {
  private var toSubmit: Int
  private var submissionsUnderWay = 0
  private var drainsUnderWay = 0
  private var toComplete: Int
  private var random = SeededRandom.fromSystem()
  private(set) var failure: BenchmarkDatabase.Failure?
  private let lane = Lane(line: 0, priority: .normal)

  init(toSubmit: Int, toComplete: Int) {
    self.toSubmit = toSubmit
    self.toComplete = toComplete
  }

  /// Nobody begins anything more.
  func stop() { failure = failure ?? .stopped }

  /// Whoever still claims would take tasks of the next measurement away from it.
  var isDone: Bool {
    submissionsUnderWay == 0 && drainsUnderWay == 0 && (failure != nil || toSubmit == 0 && toComplete <= 0)
  }

  func submit(to client: QueueClient, on reactor: isolated Reactor) async {
    while toSubmit > 0, failure == nil {
      toSubmit -= 1
      submissionsUnderWay += 1
      let payload = (0..<4).flatMap { _ in withUnsafeBytes(of: random.next()) { Array($0) } }
      let key = TaskKey(high: random.next(), low: random.next())
      do {
        _ = try await client.submit(
          Submission(kind: "bench", lane: lane, group: 0, payload: payload, key: key), on: reactor)
      } catch {
        failure = failure ?? .queue(error)
      }
      submissionsUnderWay -= 1
    }
  }

  func drain(_ worker: QueueWorker, batch: Int, on reactor: isolated Reactor) async {
    drainsUnderWay += 1
    defer { drainsUnderWay -= 1 }
    var done: [ClaimedTask] = []
    var floors = LaneFloors(sweepPause: .seconds(1 as UInt64))
    var lanes = LaneOrder(lines: [0])
    do throws(QueueError) {
      while toComplete > 0 || !done.isEmpty, failure == nil {
        let wish = ClaimWish(
          group: 0, places: floors.places(lanes.next(), findsAll: false, at: reactor.now), count: batch, announces: nil)
        let turn = try await worker.turn(
          completing: done.map {
            Completion(id: $0.id, lease: $0.lease, outcome: .completed(result: Array(#"{"result":"0123456789"}"#.utf8)))
          }, isRepeated: false, claiming: wish, on: reactor)
        toComplete -= turn.accepted.count
        done = turn.claimed
        // A worker would sleep until notified; polling an empty queue would only measure itself.
        if done.count < batch / 4 { await reactor.sleep(for: .milliseconds(2)) }
        floors.found(turn, at: reactor.now)
      }
    } catch {
      failure = failure ?? .queue(error)
    }
  }
}
