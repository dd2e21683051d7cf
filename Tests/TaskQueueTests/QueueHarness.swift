import Basics
import Postgres
import Reactor
import Telemetry
import TestSupport

@testable import TaskQueue

let pool = try! ComputePool(width: 2)
let quiet = Logger(sink: LogSink(fd: 2), subsystem: "test", level: .error)
let server = try! TestServer.postgres(settings: ["max_connections=90"])

/// A database of its own for one test, with the queue's tables.
final class QueueHarness {
  let configuration: QueueConfiguration
  let client: QueueClient
  /// For looking into the tables.
  let inspector: PostgresConnection
  private var statements = 0
  private var open: [TestWorker] = []
  private var clients: [QueueClient] = []

  private init(_ configuration: QueueConfiguration, _ inspector: PostgresConnection, on reactor: isolated Reactor) {
    self.configuration = configuration
    self.inspector = inspector
    client = QueueClient(configuration, pool: pool, log: quiet, metrics: Metrics())
    client.start(on: reactor)
    clients.append(client)
  }

  /// A new database called `name` with the first `steps` steps of the schema.
  static func make(
    _ name: String, steps: Int = QueueSchema.migrations.count, on reactor: isolated Reactor
  ) async throws -> QueueHarness {
    var configuration = QueueConfiguration()
    configuration.postgres.hosts = [server.directory]
    configuration.postgres.database = "postgres"
    configuration.postgres.limiter = ConnectionLimiter(max: 30)
    let helpers = PostgresConnection.Helpers(pool: pool)
    let admin = try await PostgresConnection.connectPatiently(
      configuration.postgres, helpers: helpers, log: quiet, on: reactor)
    _ = try await admin.execute(PostgresStatement("create", "create database \(name)"), on: reactor)
    admin.close(on: reactor)
    configuration.postgres.database = name
    let inspector = try await PostgresConnection.connectPatiently(
      configuration.postgres, helpers: helpers, log: quiet, on: reactor)
    _ = try await Migrator(Array(QueueSchema.migrations[..<steps]), log: quiet).run(on: inspector, on: reactor)
    return QueueHarness(configuration, inspector, on: reactor)
  }

  /// Another process that submits.
  func anotherClient(
    holdMax: TimeSpan = Limits.holdMax, metrics: Metrics = Metrics(), on reactor: isolated Reactor
  ) -> QueueClient {
    let client = QueueClient(configuration, pool: pool, holdMax: holdMax, log: quiet, metrics: metrics)
    client.start(on: reactor)
    clients.append(client)
    return client
  }

  /// A worker that is registered and listens.
  func worker(_ name: String = "w", on reactor: isolated Reactor) async -> TestWorker {
    let worker = startWorker(name, on: reactor)
    await worker.listens.wait(until: .never, on: reactor)
    return worker
  }

  /// A worker that begins to connect.
  func startWorker(_ name: String, on reactor: isolated Reactor) -> TestWorker {
    let worker = TestWorker(QueueWorker(configuration, name: name, pool: pool, log: quiet, metrics: Metrics()))
    open.append(worker)
    worker.queue.start(worker, on: reactor)
    return worker
  }

  func close(on reactor: isolated Reactor) {
    for worker in open { worker.queue.close(on: reactor) }
    for client in clients { client.close(on: reactor) }
    inspector.close(on: reactor)
  }

  func submission(
    _ text: String, _ lane: Lane = Lane(line: 0, priority: .normal), unique: Bool = true, attempts: Int16 = 3,
    secret: Bool = false, perWakeUp: Int = 128, perPlace: Int = 32
  ) -> Submission {
    let number = text.utf8.reduce(0 as UInt64) { ($0 &* 1_099_511_628_211) ^ UInt64($1) }
    return Submission(
      kind: "test", lane: lane, group: 0, payload: Array(text.utf8), isSecret: secret,
      key: unique ? TaskKey(high: number, low: UInt64(text.utf8.count)) : nil, tasksPerWakeUp: perWakeUp,
      tasksPerPlace: perPlace, maxAttempts: attempts)
  }

  /// Submits and returns the new task's number.
  func queue(_ submission: Submission, on reactor: isolated Reactor) async throws -> Int64 {
    guard case .queued(let id) = try await client.submit(submission, on: reactor) else {
      throw QueueError(.refused, "not queued")
    }
    return id
  }

  /// Statements are known by name, and names are cut; here each has one of its own.
  private func statement(_ sql: String) -> PostgresStatement {
    statements += 1
    return PostgresStatement("test_\(statements)", sql)
  }

  func run(_ sql: String, on reactor: isolated Reactor) async throws {
    _ = try await inspector.execute(statement(sql), on: reactor)
  }

  func number(_ sql: String, on reactor: isolated Reactor) async throws -> Int64 {
    try await inspector.execute(statement("select (\(sql))::bigint"), on: reactor).int64(0, 0)
  }

  /// The first column of all rows.
  func texts(_ sql: String, on reactor: isolated Reactor) async throws -> [String] {
    let result = try await inspector.execute(statement(sql), on: reactor)
    return (0..<result.rowCount).compactMap { result.text($0, 0) }
  }

  /// Advisory locks and the like of this database alone.
  var locks: String { "pg_locks where database = (select oid from pg_database where datname = current_database())" }

  func count(_ from: String, on reactor: isolated Reactor) async throws -> Int64 {
    try await number("select count(*) from \(from)", on: reactor)
  }

  /// Waits until so many sessions wait for locks; PostgreSQL has no event for that.
  func waitForLockWaiters(_ count: Int64 = 1, on reactor: isolated Reactor) async throws {
    while try await number(lockWaiters, on: reactor) < count { await reactor.sleep(for: .milliseconds(1)) }
  }

  /// Tasks that are not over and stand nowhere where somebody would find them.
  func strays(on reactor: isolated Reactor) async throws -> Int64 {
    try await count(
      """
      millrace.task t where state = 0 and not exists (select from millrace.ready r where r.id = t.id)
        and not exists (select from millrace.scheduled s where s.id = t.id)
        and not exists (select from millrace.lease l where t.id = any(l.ids))
      """, on: reactor)
  }
}

extension WakeUp {
  /// The words for groups of slots, as far as it has any.
  var words: [Word] { if case .tasks(let words) = self { words } else { [] } }
}

/// A worker and what it has heard.
final class TestWorker: QueueListener {
  let queue: QueueWorker
  let listens = Pause()
  let deafens = Pause()
  private(set) var heard: [WakeUp] = []
  var words: [WakeUp.Word] { heard.flatMap(\.words) }
  private let news = Pause()

  init(_ queue: QueueWorker) {
    self.queue = queue
  }

  func listening(on reactor: isolated Reactor) { listens.end() }
  func deafened(on reactor: isolated Reactor) { deafens.end() }
  func heard(_ wakeUp: WakeUp, on reactor: isolated Reactor) {
    heard.append(wakeUp)
    news.end()
  }

  /// Waits until it has heard `count` words, or until `deadline`.
  func hears(_ count: Int, on reactor: isolated Reactor) async {
    while heard.count < count { await news.wait(until: .never, on: reactor) }
  }

  /// Claims one task whose worker was lost, or else `count` tasks from the start of the line, and puts the idle row
  /// `row` in place before that.
  func claim(_ count: Int, row: Int? = nil, on reactor: isolated Reactor) async throws -> [ClaimedTask] {
    let suspect = ClaimWish(group: 0, places: [.init(.suspects(of: 0), floor: 0)], count: 1, announces: nil)
    let turn = try await queue.turn(completing: [], isRepeated: false, claiming: suspect, on: reactor)
    if !turn.claimed.isEmpty { return turn.claimed }
    let wish = ClaimWish(
      group: 0, places: [.init(Lane(line: 0, priority: .normal), floor: 0)], count: count,
      announces: row.map { WakeProtocol.Rows(above: 0, upTo: $0) })
    return try await queue.turn(completing: [], isRepeated: false, claiming: wish, on: reactor).claimed
  }

  /// Completes `completions` and returns the ids that were accepted.
  func complete(
    _ completions: [Completion], isRepeated: Bool = false, on reactor: isolated Reactor
  ) async throws -> [Int64] {
    try await queue.turn(completing: completions, isRepeated: isRepeated, claiming: nil, on: reactor).accepted
  }

  func complete(_ tasks: [ClaimedTask], on reactor: isolated Reactor) async throws -> [Int64] {
    try await complete(tasks.map { $0.completed() }, on: reactor)
  }

  func beat(
    held: [Int64] = [], leaseSeconds: Double = 30, idleLines: [Int16] = [], isAtRest: Bool = false,
    testAfter: TimeSpan = .seconds(1000.0), on reactor: isolated Reactor
  ) async throws -> QueueWorker.Beat {
    try await queue.beat(
      held: held, leaseSeconds: leaseSeconds, idleLines: idleLines,
      schedule: BeatSchedule(beat: .seconds(5.0), leaseSeconds: 30, at: reactor.now), isAtRest: isAtRest,
      testAfter: testAfter, on: reactor)
  }
}

extension ClaimedTask {
  func completed(_ result: String? = nil) -> Completion {
    Completion(id: id, lease: lease, outcome: .completed(result: Array((result ?? "\(id)").utf8)))
  }

  func failed(_ error: String) -> Completion {
    Completion(id: id, lease: lease, outcome: .failed(error: error))
  }
}

/// Collects outcomes of concurrent submissions.
final class Outcomes {
  var all: [SubmitOutcome] = []
  var errors: [QueueError] = []
  private let news = Pause()

  func submit(_ submission: Submission, _ client: QueueClient, on reactor: isolated Reactor) {
    Task.immediate(executorPreference: reactor.queue) {
      do throws(QueueError) {
        all.append(try await client.submit(submission, on: reactor))
      } catch {
        errors.append(error)
      }
      news.end()
    }
  }

  /// Waits until `count` submissions are over.
  func wait(for count: Int, on reactor: isolated Reactor) async {
    while all.count + errors.count < count { await news.wait(until: .never, on: reactor) }
  }

  var fresh: Int { all.filter { if case .queued = $0 { true } else { false } }.count }

  var ids: Set<Int64> {
    Set(
      all.map {
        switch $0 {
        case .queued(let id), .underWay(let id, _), .completed(let id, _, _): id
        case .conflict: 0
        }
      })
  }
}
