import Basics
import DataItems
import HTTP
import HTTPSyntax
import Hashing
import Postgres
import Reactor
import Redis
import Tasks
import Telemetry
import TestSupport
import Testing
import Tokens

@testable import API
@testable import TaskQueue

let pool = try! ComputePool(width: 2)
let quiet = Logger(sink: LogSink(fd: 2), subsystem: "test", level: .error)
let postgres = try! TestServer.postgres()
/// What argon2 costs in tests.
let testCost = TaskParameters(argon2: .init(passes: 1, memoryKiB: 64, parallelism: 1))

/// An API on a loopback port, over a database and a Redis of its own, and a worker that the test plays.
final class APIHarness: QueueListener {
  let service: APIService
  let address: SocketAddress
  /// For looking into the tables.
  let inspector: PostgresConnection
  let worker: QueueWorker
  let client = HTTPClient()
  private let server: HTTPServer
  private let listens = Pause()
  private let isTold = Pause()
  private var asked = 0

  private init(
    _ service: APIService, _ server: HTTPServer, _ address: SocketAddress, _ inspector: PostgresConnection,
    _ worker: QueueWorker
  ) {
    self.service = service
    self.server = server
    self.address = address
    self.inspector = inspector
    self.worker = worker
  }

  static func start(
    _ name: String, redis: TestServer?, _ change: (inout APIConfiguration) -> Void = { _ in },
    on reactor: isolated Reactor
  ) async throws -> APIHarness {
    let helpers = PostgresConnection.Helpers(pool: pool)
    var configuration = APIConfiguration(secret: SecretKey.random())
    configuration.queue.postgres.hosts = [postgres.directory]
    configuration.queue.postgres.database = "postgres"
    configuration.redis = redis.map { RedisConfiguration(endpoint: "unix:\($0.directory)/redis.sock") }
    change(&configuration)
    let admin = try await PostgresConnection.connectPatiently(
      configuration.queue.postgres, helpers: helpers, log: quiet, on: reactor)
    _ = try await admin.execute(PostgresStatement("create", "create database \(name)"), on: reactor)
    admin.close(on: reactor)
    configuration.queue.postgres.database = name
    let inspector = try await PostgresConnection.connectPatiently(
      configuration.queue.postgres, helpers: helpers, log: quiet, on: reactor)
    _ = try await QueueSchema.migrate(configuration.queue, pool: pool, log: quiet, on: reactor)
    _ = try await DataSchema.migrate(configuration.queue.postgres, pool: pool, log: quiet, on: reactor)
    let metrics = Metrics()
    let queue = QueueClient(configuration.queue, pool: pool, log: quiet, metrics: metrics)
    queue.start(on: reactor)
    let redis = configuration.redis.map {
      RedisClient(
        $0, resolver: Resolver(pool: pool), logger: quiet, metrics: RedisMetrics(metrics), on: reactor)
    }
    let service = APIService(configuration, queue: queue, redis: redis, pool: pool, log: quiet, metrics: metrics)
    service.data.start(on: reactor)
    service.services?.start(on: reactor)
    let server = HTTPServer(
      handler: APIService.routes(service, metrics: metrics), metrics: HTTPServerMetrics(metrics), log: quiet)
    let address = try server.listen(on: SocketAddress("127.0.0.1:0")!, on: reactor)
    let worker = QueueWorker(configuration.queue, name: "test", pool: pool, log: quiet, metrics: metrics)
    let harness = APIHarness(service, server, address, inspector, worker)
    worker.start(harness, on: reactor)
    await harness.listens.wait(until: .never, on: reactor)
    // Whoever asks waits for a connection whose tables fit; that Redis is connected nothing tells but its answer.
    let deadline = reactor.now + .seconds(20 as UInt64)
    // Values that were read before changes are heard are forgotten once they are.
    while (try? await service.queue.livingWorkers(until: deadline, on: reactor)) == nil || !service.data.hearsOfChanges,
      reactor.now < deadline
    {}
    while let redis = service.redis, (try? await redis.keyCount(on: reactor)) == nil {
      await reactor.sleep(for: .milliseconds(1))
    }
    return harness
  }

  func listening(on reactor: isolated Reactor) { listens.end() }
  func deafened(on reactor: isolated Reactor) {}
  func heard(_ wakeUp: WakeUp, on reactor: isolated Reactor) { isTold.end() }

  func send(
    _ method: HTTPMethod, _ target: String, _ body: String = "", fields: [(name: String, value: String)] = [],
    on reactor: isolated Reactor
  ) async throws -> HTTPClientResponse {
    try await client.send(
      HTTPClientRequest(method, target, fields: fields, body: Array(body.utf8)), to: address,
      until: reactor.now + .seconds(20 as UInt64), on: reactor)
  }

  func number(_ sql: String, on reactor: isolated Reactor) async throws -> Int64 {
    asked += 1
    let statement = PostgresStatement("number_\(asked)", "select (\(sql))::bigint")
    return try await inspector.execute(statement, on: reactor).int64(0, 0)
  }

  /// Waits until as many clients wait for tasks as `isEnough` wants; whether that came about in time.
  func clientsWaiting(
    within span: TimeSpan = .seconds(20 as UInt64), on reactor: isolated Reactor, _ isEnough: (Int) -> Bool
  ) async -> Bool {
    let (deadline, changed, told) = (reactor.now + span, Pause(), service.board.counted)
    service.board.counted = { count in
      told(count)
      changed.end()
    }
    defer { service.board.counted = told }
    while !isEnough(service.board.count) {
      guard await changed.wait(until: deadline, on: reactor) else { return false }
    }
    return true
  }

  /// The same with a user whom it believes, and the fields with which that one asks.
  static func startForUser(
    _ name: String, redis: TestServer? = nil, _ change: (inout APIConfiguration) -> Void = { _ in },
    on reactor: isolated Reactor
  ) async throws -> (api: APIHarness, fields: [(name: String, value: String)]) {
    let folder = TemporaryFolder()
    try TokenKeys.new(.hs256).store(path: folder.path + "/token.keys")
    let tokens = try TokenAuthority(keysAt: folder.path + "/token.keys")
    let token = tokens.token(for: "ann", lifetimeSeconds: 60, at: Timestamp.current().seconds)!
    let api = try await start(
      name, redis: redis,
      {
        $0.tokens = tokens
        change(&$0)
      }, on: reactor)
    return (api, [("Authorization", "Bearer \(String(decoding: token, as: UTF8.self))")])
  }

  /// Takes PostgreSQL away from the API as soon as a client waits for a task; if none does in time, the request is over
  /// and what it was answered tells.
  func losePostgresOnceAClientWaits(on reactor: isolated Reactor) {
    Task.immediate(executorPreference: reactor.queue) {
      _ = await clientsWaiting(on: reactor) { $0 > 0 }
      service.queue.close(on: reactor)
    }
  }

  /// A claim of everything that `slots` run.
  private static func wish(_ slots: SlotClass, count: Int, announces row: WakeProtocol.Rows? = nil) -> ClaimWish {
    var lanes = LaneOrder(lines: TaskKind.lines(of: slots))
    let places = lanes.next().map { ClaimWish.Place($0, floor: 0) }
    return ClaimWish(group: slots.group, places: places, count: count, announces: row)
  }

  /// Sleeps like a worker for the tasks of `kind`, until it is told of one, and then does it.
  func workWhenTold(of kind: TaskKind, on reactor: isolated Reactor) async throws {
    let row = WakeProtocol.Rows(above: 0, upTo: 1)
    let wish = APIHarness.wish(kind.line(0).slots, count: 1, announces: row)
    let turn = try await worker.turn(completing: [], isRepeated: false, claiming: wish, on: reactor)
    precondition(turn.claimed.isEmpty, "a task was there already")
    Task.immediate(executorPreference: reactor.queue) {
      await isTold.wait(until: .never, on: reactor)
      do { try await work(on: reactor) } catch { Issue.record("\(error)") }
    }
  }

  /// Does what workers do with everything that is ready.
  func work(on reactor: isolated Reactor) async throws {
    var over: [Int64] = []
    for slots in SlotClass.all where !slots.isForSuspects {
      let wish = APIHarness.wish(slots, count: 512)
      let tasks = try await worker.turn(completing: [], isRepeated: false, claiming: wish, on: reactor).claimed
      var completions: [Completion] = []
      for task in tasks {
        let kind = TaskKind.named(task.kind)!
        let context = TaskContext(
          id: task.id, attempt: 1, deadline: .never, log: quiet, parameters: testCost, pool: pool,
          cancelled: { false }, progressed: { _ in })
        let input = try kind.input(of: task.payload, sealedBy: service.sealer)
        let result = try await kind.run(input, context, on: reactor)
        completions.append(Completion(id: task.id, lease: task.lease, outcome: .completed(result: result)))
      }
      _ = try await worker.turn(completing: completions, isRepeated: false, claiming: nil, on: reactor)
      over += completions.map(\.id)
    }
    // At the end: whoever is told may end the test.
    service.board.completed(over)
  }

  func stop(on reactor: isolated Reactor) async {
    client.closeIdle(on: reactor)
    await service.end(server, within: .seconds(10 as UInt64), on: reactor)
    await service.services?.stop(on: reactor)
    service.data.close(on: reactor)
    service.redis?.close(on: reactor)
    service.queue.close(on: reactor)
    worker.close(on: reactor)
    inspector.close(on: reactor)
  }
}

extension HTTPClientResponse {
  var text: String { String(decoding: body, as: UTF8.self) }
}
