import Basics
import Postgres
import Reactor
import Telemetry
import TestSupport

@testable import TaskQueue

let pool = try! ComputePool(width: 2)
let helpers = PostgresConnection.Helpers(pool: pool)
let quiet = Logger(sink: LogSink(fd: 2), subsystem: "test", level: .error)
let server = try! TestServer.postgres(settings: ["max_connections=60"])

/// A database of its own for one test, with the queue's tables.
final class QueueHarness {
  let configuration: PostgresConfiguration
  let client: PostgresClient
  let submitter: Submitter
  let reader: TaskReader
  let lane = Lane(group: 0, priority: .normal)

  private init(_ configuration: PostgresConfiguration, on reactor: isolated Reactor) {
    self.configuration = configuration
    client = PostgresClient(configuration, helpers: helpers, log: quiet, metrics: Metrics())
    submitter = Submitter(client, retentionSeconds: 3600, log: quiet, metrics: Metrics())
    reader = TaskReader(client)
    client.start(on: reactor)
  }

  static func make(_ name: String, on reactor: isolated Reactor) async throws -> QueueHarness {
    var configuration = PostgresConfiguration()
    configuration.hosts = [server.directory]
    configuration.database = "postgres"
    configuration.limiter = ConnectionLimiter(max: 30)
    let admin = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
    _ = try await admin.execute(PostgresStatement("create", "create database \(name)"), on: reactor)
    admin.close(on: reactor)
    configuration.database = name
    let connection = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
    _ = try await Migrator(QueueSchema.migrations, log: quiet).run(on: connection, on: reactor)
    connection.close(on: reactor)
    configuration.settings = QueueSchema.workerSettings
    return QueueHarness(configuration, on: reactor)
  }

  func connect(on reactor: isolated Reactor) async throws -> PostgresConnection {
    try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
  }

  /// The connections of workers that sleep; what they are notified of comes to `ear`.
  func sleepers(
    _ count: Int, heardBy ear: any PostgresNotificationReceiver, on reactor: isolated Reactor
  ) async throws -> [PostgresConnection] {
    var connections: [PostgresConnection] = []
    for index in 0..<count {
      let connection = try await connect(on: reactor)
      connection.notificationReceiver = ear
      let presence = try await WorkerPresence.register(name: "w\(index)", connection: connection, on: reactor)
      try await Claims(worker: presence.id).announceIdle(group: 0, connection, on: reactor)
      connections.append(connection)
    }
    return connections
  }

  func submission(_ text: String, unique: Bool = true, attempts: Int16 = 3) -> Submission {
    let bytes = Array(text.utf8)
    return Submission(
      kind: "test", lane: lane, payload: bytes, digest: unique ? bytes + [UInt8](repeating: 0, count: 8) : nil,
      maxAttempts: attempts)
  }

  func count(_ sql: String, on reactor: isolated Reactor) async throws -> Int64 {
    try await client.execute(
      PostgresStatement("select count(*) from \(sql)", "select count(*) from \(sql)"), on: reactor
    )
    .int64(0, 0)
  }

  func claim(_ claims: Claims, _ count: Int, _ connection: PostgresConnection, on reactor: isolated Reactor)
    async throws -> [ClaimedTask]
  {
    try await claims.turn(
      completing: [], endedLeases: [], claimingFrom: lane, count: count, floor: 0, connection: connection, on: reactor
    ).claimed
  }

  func complete(
    _ claims: Claims, _ tasks: [ClaimedTask], _ connection: PostgresConnection, on reactor: isolated Reactor
  )
    async throws -> [Int64]
  {
    try await claims.turn(
      completing: tasks.map { Completion(id: $0.id, lease: $0.lease, outcome: .completed(result: $0.payload)) },
      endedLeases: Array(Set(tasks.map(\.lease))), claimingFrom: nil, count: 0, floor: 0, connection: connection,
      on: reactor
    ).accepted
  }
}

/// Collects outcomes of concurrent submissions.
final class Outcomes {
  var all: [SubmitOutcome] = []
  var errors: [PostgresError] = []
  var count: Int { all.count + errors.count }

  func submit(_ submission: Submission, _ submitter: Submitter, on reactor: isolated Reactor) async {
    do { all.append(try await submitter.submit(submission, on: reactor)) } catch { errors.append(error) }
  }

  /// Submits a task for each of `numbers`, all at once.
  func start(
    _ numbers: ClosedRange<Int>, _ queue: QueueHarness, _ submitter: Submitter, on reactor: isolated Reactor
  ) {
    for number in numbers {
      Task.immediate(executorPreference: reactor.queue) {
        await self.submit(queue.submission("\(number)"), submitter, on: reactor)
      }
    }
  }

  var ids: Set<Int64> {
    Set(
      all.map {
        switch $0 {
        case .queued(let id), .underWay(let id, _), .completed(let id, _, _): id
        }
      })
  }
}
