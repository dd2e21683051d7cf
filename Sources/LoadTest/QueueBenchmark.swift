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

  /// What a measurement has found.
  public enum Figure: Sendable {
    /// Tasks a second.
    case perSecond(Double)
    /// How long something took.
    case milliseconds(p50: Double, p99: Double)
  }

  private static let submitConnections = 2
  private let client: QueueClient
  private let worker: QueueWorker
  private let database: BenchmarkDatabase
  private let pool: ComputePool
  private let options: Options
  private let log: Logger
  private let deaf = Deaf()
  private let sleepy: QueueWorker
  private var tally: Tally?
  private var sleeper: Sleeper?
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
    working.width = 1
    sleepy = QueueWorker(working, name: "sleeper", pool: pool, log: log, metrics: Metrics())
  }

  /// Connections that a benchmark with `options` needs.
  public static func connections(_ options: Options) -> Int {
    // Those that claim, those that submit, the worker's lifeline, and two of the worker that sleeps.
    min(options.connections, Limits.connectionsMax) + submitConnections + 3
  }

  /// Runs all measurements and hands each row, its name and its figure, to `report` as soon as it is known.
  /// - Throws: `BenchmarkDatabase.Failure`.
  public func run(
    report: (String, Figure) -> Void, on reactor: isolated Reactor
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
    for worker in [worker, sleepy] {
      try? await worker.leave(held: [], until: reactor.now + Limits.leavePatience, on: reactor)
      worker.close(on: reactor)
    }
    client.close(on: reactor)
    try outcome.get()
  }

  /// Ends what is measured: `run` throws `stopped` soon.
  public func stop() {
    isStopped = true
    tally?.stop()
    sleeper?.stop()
    deaf.ready.end()
  }

  private func measureAll(
    report: (String, Figure) -> Void, on reactor: isolated Reactor
  ) async throws(BenchmarkDatabase.Failure) {
    client.start(on: reactor)
    worker.start(deaf, on: reactor)
    await deaf.ready.wait(until: .never, on: reactor)
    var together = 0.0
    for batch in [64, 512] {
      report("submit, unique digests", .perSecond(try await measure(submits: true, drains: nil, on: reactor)))
      report(
        "claim + complete, \(options.connections) connections, batches of \(batch)",
        .perSecond(try await measure(submits: false, drains: batch, on: reactor)))
      together = try await measure(submits: true, drains: batch, on: reactor)
      report("submit + claim + complete together, batches of \(batch)", .perSecond(together))
    }
    let few = max(1, options.tasks / 10)
    // What is claimed one by one has places of its own.
    _ = try await measure(few, perPlace: 1, submits: true, drains: nil, on: reactor)
    report(
      "claim + complete, \(options.connections) connections, one by one",
      .perSecond(try await measure(few, perPlace: 1, submits: false, drains: 1, on: reactor)))
    try await measureWakeUps(halfLoad: together / 2, report: report, on: reactor)
  }

  /// Puts `count` tasks, or as many as `options` say, through what is asked for, and returns how many a second.
  private func measure(
    _ count: Int? = nil, perPlace: Int = Limits.tasksPerPlace, submits: Bool, drains batch: Int?,
    on reactor: isolated Reactor
  ) async throws(BenchmarkDatabase.Failure) -> Double {
    let tasks = min(count ?? options.tasks, Limits.tasksMax)
    let tally = Tally(toSubmit: submits ? tasks : 0, toComplete: batch == nil ? 0 : tasks, perPlace: perPlace)
    return try await rate(tally, drains: batch, tasks, on: reactor)
  }

  private func rate(
    _ tally: Tally, drains batch: Int?, _ tasks: Int, on reactor: isolated Reactor
  ) async throws(BenchmarkDatabase.Failure) -> Double {
    let tally = try begin(tally, drains: batch, on: reactor)
    let began = MonotonicTime.current()
    while !tally.isDone, !isStopped { await reactor.sleep(for: .milliseconds(1)) }
    if let failure = tally.failure { throw failure }
    return Double(tasks) / MonotonicTime.current().since(began).seconds
  }

  private func begin(
    _ tally: Tally, drains batch: Int?, on reactor: isolated Reactor
  ) throws(BenchmarkDatabase.Failure) -> Tally {
    self.tally = tally
    if isStopped { throw .stopped }
    if tally.submits {
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
    return tally
  }

  /// How long it takes until a worker that sleeps has a task, from its submission on; and what it costs those who
  /// submit that one is told.
  private func measureWakeUps(
    halfLoad: Double, report: (String, Figure) -> Void, on reactor: isolated Reactor
  ) async throws(BenchmarkDatabase.Failure) {
    let lane = Lane(line: 1, priority: .normal)
    let sleeper = Sleeper(sleepy, group: 1, lane: lane)
    self.sleeper = sleeper
    sleepy.start(sleeper, on: reactor)
    let over = Pause()
    Task.immediate(executorPreference: reactor.queue) {
      await sleeper.run(on: reactor)
      over.end()
    }
    report("submit to a worker that sleeps, idle", try await wakeUps(sleeper, lane, on: reactor))
    // Others are kept busy meanwhile with half of what they can do.
    let load = try begin(Tally(perSecond: halfLoad, width: options.submissionsAtOnce), drains: 512, on: reactor)
    let began = MonotonicTime.current()
    let figure = try await wakeUps(sleeper, lane, on: reactor)
    let rate = Int(Double(load.submitted) / MonotonicTime.current().since(began).seconds)
    load.end()
    while !load.isDone { await reactor.sleep(for: .milliseconds(1)) }
    if let failure = load.failure { throw failure }
    report("the same beside \(rate) tasks a second of others", figure)
    try await measureTelling(sleeper, report: report, on: reactor)
    sleeper.stop()
    await over.wait(until: .never, on: reactor)
  }

  /// What is submitted is for the sleeper's group, or for one in which nobody sleeps, in turns, and stands where
  /// neither looks: the one is told of each batch that comes while it sleeps, wakes, looks and sleeps again.
  private func measureTelling(
    _ sleeper: Sleeper, report: (String, Figure) -> Void, on reactor: isolated Reactor
  ) async throws(BenchmarkDatabase.Failure) {
    var seconds: [Int16: Double] = [:]
    let tasks = min(options.tasks, Limits.tasksMax) / 4
    var told = 0
    // The line grows from one to the next, so each comes first as often as last.
    for group in [2, 1, 1, 2, 2, 1, 1, 2] as [Int16] {
      await sleeper.sleeps(on: reactor)
      let before = sleeper.notifications
      let tally = Tally(toSubmit: tasks, toComplete: 0, lane: Lane(line: 2, priority: .normal), group: group)
      seconds[group, default: 0] += Double(tasks) / (try await rate(tally, drains: nil, tasks, on: reactor))
      told += sleeper.notifications - before
    }
    report("submit, nobody sleeps", .perSecond(4 * Double(tasks) / seconds[2]!))
    report("submit, with \(told) notifications of one that sleeps", .perSecond(4 * Double(tasks) / seconds[1]!))
  }

  private func wakeUps(
    _ sleeper: Sleeper, _ lane: Lane, on reactor: isolated Reactor
  ) async throws(BenchmarkDatabase.Failure) -> Figure {
    var taken: [Double] = []
    var began = MonotonicTime.current()
    sleeper.claimed = { _ in taken.append(MonotonicTime.current().since(began).seconds * 1000) }
    for number in 0..<Limits.wakeUps {
      await sleeper.sleeps(on: reactor)
      await reactor.sleep(for: .milliseconds(2))
      if isStopped { throw .stopped }
      began = MonotonicTime.current()
      do throws(QueueError) {
        if let failure = sleeper.failure { throw failure }
        let payload = Array("\(number)".utf8)
        _ = try await client.submit(
          Submission(kind: "bench", lane: lane, group: lane.line, payload: payload, key: nil), on: reactor)
      } catch {
        throw .queue(error)
      }
      while taken.count <= number, sleeper.failure == nil, !isStopped { await reactor.sleep(for: .milliseconds(1)) }
    }
    taken.sort()
    return .milliseconds(p50: taken[taken.count / 2], p99: taken[taken.count * 99 / 100])
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
  /// How many were submitted.
  private(set) var submitted = 0
  private var submissionsUnderWay = 0
  private var drainsUnderWay = 0
  private var toComplete: Int
  private var random = SeededRandom.fromSystem()
  private(set) var failure: BenchmarkDatabase.Failure?
  private let lane: Lane
  private let group: Int16
  /// How many of those that are submitted together may share a place in line.
  private let perPlace: Int

  /// How long each of those that submit pauses between two submissions.
  private let pause: TimeSpan?

  init(
    toSubmit: Int, toComplete: Int, lane: Lane = Lane(line: 0, priority: .normal), group: Int16 = 0,
    perPlace: Int = Limits.tasksPerPlace, pause: TimeSpan? = nil
  ) {
    self.toSubmit = toSubmit
    self.toComplete = toComplete
    self.lane = lane
    self.group = group
    self.perPlace = perPlace
    self.pause = pause
  }

  /// So many tasks a second, of `width` submitters, until `end`.
  convenience init(perSecond: Double, width: Int) {
    self.init(toSubmit: .max, toComplete: .max, pause: .seconds(Double(width) / perSecond))
  }

  /// Whether anything is submitted.
  var submits: Bool { toSubmit > 0 }

  /// Nothing more is submitted, and what was is left to whoever comes next.
  func end() { (toSubmit, toComplete) = (0, 0) }

  /// Nobody begins anything more.
  func stop() { failure = failure ?? .stopped }

  /// Whoever still claims would take tasks of the next measurement away from it.
  var isDone: Bool {
    submissionsUnderWay == 0 && drainsUnderWay == 0 && (failure != nil || toSubmit == 0 && toComplete <= 0)
  }

  func submit(to client: QueueClient, on reactor: isolated Reactor) async {
    var due = reactor.now
    if let pause {
      // Not all in step.
      due = due + .seconds(Double.random(in: 0...pause.seconds, using: &random))
      await reactor.sleep(for: due.since(reactor.now))
    }
    while toSubmit > 0, failure == nil {
      toSubmit -= 1
      submissionsUnderWay += 1
      let payload = (0..<4).flatMap { _ in withUnsafeBytes(of: random.next()) { Array($0) } }
      let key = TaskKey(high: random.next(), low: random.next())
      do {
        _ = try await client.submit(
          Submission(
            kind: "bench", lane: lane, group: group, payload: payload, key: key, tasksPerPlace: perPlace),
          on: reactor)
      } catch {
        failure = failure ?? .queue(error)
      }
      submissionsUnderWay -= 1
      submitted += 1
      if let pause {
        due = due + pause
        await reactor.sleep(for: due > reactor.now ? due.since(reactor.now) : .milliseconds(0))
      }
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
          group: 0, places: floors.places(lanes.next(), findsAll: false, at: reactor.now), count: batch, announces: nil,
          sharesPlaces: perPlace > 1)
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
