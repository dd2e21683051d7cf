import Basics
import Caching
import DataItems
import HTTP
import HTTPSyntax
import Postgres
import Reactor
import Telemetry
import TestSupport

@testable import API

/// An API whose caller is a user.
struct DataUser {
  let api: APIHarness
  let token: (name: String, value: String)

  func get(
    _ target: String, _ fields: [(name: String, value: String)] = [], on reactor: isolated Reactor
  ) async throws -> HTTPClientResponse {
    try await api.send(.get, target, fields: [token] + fields, on: reactor)
  }

  func send(
    _ method: HTTPMethod, _ target: String, _ body: String, on reactor: isolated Reactor
  ) async throws -> HTTPClientResponse {
    let fields = [token, (name: "Content-Type", value: "application/json")]
    return try await api.send(method, target, body, fields: fields, on: reactor)
  }

  /// How many of `count` who ask for one value at the same time are answered with which status.
  func crowd(_ count: Int, on reactor: isolated Reactor) async -> [Int: Int] {
    let service = api.service
    let tasks = (0..<count).map { _ in
      Task.immediate(executorPreference: reactor.queue) {
        let head = Array("GET /data?key=1 HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
        let peer = SocketAddress("127.0.0.1:1")!
        let request = HTTPRequest(headBytes: head, body: [], id: [], peer: peer)!
        do throws(Problem) {
          return try await service.showData(request, on: reactor).status
        } catch {
          return error.status
        }
      }
    }
    var statuses: [Int: Int] = [:]
    for task in tasks { statuses[await task.value, default: 0] += 1 }
    return statuses
  }

  /// Runs a statement of somebody who has psql.
  func run(_ sql: String, on reactor: isolated Reactor) async throws {
    _ = try await api.inspector.execute(PostgresStatement("run_\(sql.hashValue)", sql), on: reactor)
  }

  /// The process in PostgreSQL that tells of changes.
  func feed(on reactor: isolated Reactor) async throws -> Int32 {
    let query = "like 'select (extract(epoch from clock_timestamp%'"
    return Int32(
      try await api.number(
        "select pid from pg_stat_activity where datname = current_database() and query \(query)", on: reactor))
  }

  /// Whether somebody waits for a lock of somebody else.
  func isAnybodyLocked(on reactor: isolated Reactor) async throws -> Bool {
    try await api.inspector.execute(PostgresStatement("locked", lockWaiters), on: reactor).int64(0, 0) > 0
  }

  func figure(_ name: String, on reactor: isolated Reactor) async throws -> Int? {
    let lines = try await api.send(.get, "/metrics", on: reactor).text.split(separator: "\n")
    return lines.first { $0.hasPrefix("\(name) ") }.flatMap { Int($0.dropFirst(name.count + 1)) }
  }

  static func start(
    _ name: String, redis: TestServer? = nil, delay: TimeSpan = .milliseconds(0),
    times: LevelTimes = LevelTimes(), on reactor: isolated Reactor
  ) async throws -> DataUser {
    let (api, fields) = try await APIHarness.startForUser(
      name, redis: redis, { ($0.dataDelay, $0.dataTimes) = (delay, times) }, on: reactor)
    return DataUser(api: api, token: fields[0])
  }

  /// A store over the same tables, as another process would have it, and what it needs.
  func otherStore(on reactor: isolated Reactor) async throws -> (store: DataStore, pool: ComputePool) {
    let pool = try ComputePool(width: 1)
    let store = DataStore(
      api.service.configuration.queue.postgres, pool: pool,
      log: Logger(sink: LogSink(fd: 2), subsystem: "test", level: .error), metrics: Metrics())
    store.start(on: reactor)
    return (store, pool)
  }

  /// Lets nobody into the database any more.
  func closeDatabase(on reactor: isolated Reactor) async throws {
    try await run("update pg_database set datallowconn = false where datname = current_database()", on: reactor)
  }

  /// Sends those out who are in, as far as they can be seen: who is just coming in cannot.
  func clearDatabase(on reactor: isolated Reactor) async throws {
    let others = "datname = current_database() and pid <> pg_backend_pid()"
    try await run("select pg_terminate_backend(pid) from pg_stat_activity where \(others)", on: reactor)
  }
}
