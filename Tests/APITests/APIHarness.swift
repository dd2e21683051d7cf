import Basics
import HTTP
import Hashing
import Postgres
import Reactor
import Redis
import TaskQueue
import Telemetry
import TestSupport

@testable import API
import HTTPSyntax

let pool = try! ComputePool(width: 2)
let quiet = Logger(sink: LogSink(fd: 2), subsystem: "test", level: .error)
let postgres = try! TestServer.postgres()

/// An API on a loopback port, over a database and a Redis of its own.
final class APIHarness {
  let service: APIService
  let address: SocketAddress
  let queue: PostgresConnection
  let claims: Claims
  let client = HTTPClient()
  private let server: HTTPServer

  private init(
    _ service: APIService, _ server: HTTPServer, _ address: SocketAddress, _ queue: PostgresConnection, _ claims: Claims
  ) {
    self.service = service
    self.server = server
    self.address = address
    self.queue = queue
    self.claims = claims
  }

  static func start(
    _ name: String, redis: TestServer?, _ change: (inout APIConfiguration) -> Void = { _ in },
    on reactor: isolated Reactor
  ) async throws -> APIHarness {
    let helpers = PostgresConnection.Helpers(pool: pool)
    var configuration = APIConfiguration(secret: SecretKey.random())
    configuration.postgres.hosts = [postgres.directory]
    configuration.postgres.database = "postgres"
    configuration.redis = redis.map { RedisConfiguration(endpoint: "unix:\($0.directory)/redis.sock") }
    change(&configuration)
    let admin = try await PostgresConnection.connect(configuration.postgres, helpers: helpers, on: reactor)
    _ = try await admin.execute(PostgresStatement("create", "create database \(name)"), on: reactor)
    admin.close(on: reactor)
    configuration.postgres.database = name
    configuration.postgres.settings = QueueSchema.workerSettings
    let queue = try await PostgresConnection.connect(configuration.postgres, helpers: helpers, on: reactor)
    _ = try await Migrator(QueueSchema.migrations, log: quiet).run(on: queue, on: reactor)
    let presence = try await WorkerPresence.register(name: "test", connection: queue, on: reactor)
    let metrics = Metrics()
    let client = PostgresClient(configuration.postgres, helpers: helpers, log: quiet, metrics: metrics)
    client.start(width: 2, on: reactor)
    let redis = configuration.redis.map {
      RedisClient(
        $0, resolver: Resolver(pool: pool), logger: quiet, metrics: RedisMetrics(metrics), on: reactor)
    }
    let service = APIService(configuration, client: client, redis: redis, log: quiet, metrics: metrics)
    let server = HTTPServer(handler: APIService.routes(service, metrics: metrics), metrics: HTTPServerMetrics(metrics))
    let address = try server.listen(on: SocketAddress("127.0.0.1:0")!, on: reactor)
    return APIHarness(service, server, address, queue, Claims(worker: presence.id))
  }

  func send(
    _ method: HTTPMethod, _ target: String, _ body: String = "", fields: [(name: String, value: String)] = [],
    on reactor: isolated Reactor
  ) async throws -> HTTPClientResponse {
    try await client.send(
      HTTPClientRequest(method, target, fields: fields, body: Array(body.utf8)), to: address,
      until: reactor.now + .seconds(20 as UInt64), on: reactor)
  }

  /// Does what workers do with everything that is ready.
  func work(on reactor: isolated Reactor) async throws {
    for group in HashKind.SlotGroup.allCases {
      let lane = Lane(group: group.rawValue, priority: .normal)
      let tasks = try await claims.turn(
        completing: [], endedLeases: [], claimingFrom: lane, count: 512, floor: 0, connection: queue, on: reactor
      ).claimed
      guard !tasks.isEmpty else { continue }
      var completions: [Completion] = []
      for task in tasks {
        let kind = HashKind.named(task.kind)!
        let input =
          kind.isSecret ? try service.sealer.open(task.payload, context: Array(kind.name.utf8)) : task.payload
        let result = try kind.result(
          of: input, parameters: .init(argon2: .init(passes: 1, memoryKiB: 64, parallelism: 1)))
        completions.append(Completion(id: task.id, lease: task.lease, outcome: .completed(result: result)))
      }
      _ = try await claims.turn(
        completing: completions, endedLeases: [tasks[0].lease], claimingFrom: nil, count: 0, floor: 0,
        connection: queue, on: reactor)
    }
  }

  func stop(on reactor: isolated Reactor) async {
    client.closeIdle(on: reactor)
    await server.drain(until: reactor.now + .seconds(1 as UInt64), on: reactor)
    service.redis?.close(on: reactor)
    service.client.close(on: reactor)
    queue.close(on: reactor)
  }
}

extension HTTPClientResponse {
  var text: String { String(decoding: body, as: UTF8.self) }
}
