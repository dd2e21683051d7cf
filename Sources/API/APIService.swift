import Basics
import Caching
import DataItems
import HTTP
import HTTPSyntax
import Hashing
import Reactor
import Redis
import Roles
import TaskQueue
import Tasks
import Telemetry

/// What all routes work on. It lives on its reactor and is handed to each route's action by the router.
final class APIService {
  let configuration: APIConfiguration
  let log: Logger
  let queue: QueueClient
  let redis: RedisClient?
  let cache: ResultCache
  let data: DataCache
  let board: CompletionBoard
  let sealer: Sealer
  let taskKeys: HMACSHA256
  let pool: ComputePool
  /// The compute services, nil if this process was told of none.
  let services: ComputeServices?
  private let door: Admission
  var flights = SingleFlight<TaskIdentity, FlightWaiter>()
  /// Clients that wait for a task to be over.
  var clientsWaiting = 0
  private let readiness: Readiness

  init(
    _ configuration: APIConfiguration, queue: QueueClient, redis: RedisClient?, pool: ComputePool,
    resolvers: ComputePool? = nil, log: Logger, metrics: Metrics
  ) {
    self.configuration = configuration
    self.log = log
    self.queue = queue
    self.pool = pool
    self.redis = redis
    cache = ResultCache(
      entriesMax: configuration.l1EntriesMax, bytesMax: configuration.l1BytesMax, ttl: configuration.cacheTTL,
      redis: redis, log: log.named("cache"), metrics: metrics)
    let (postgres, dataLog) = (configuration.queue.postgres, log.named("data"))
    data = DataCache(
      DataStore(postgres, pool: pool, log: dataLog, metrics: metrics),
      DataFeed(postgres, pool: pool, log: dataLog, metrics: metrics), redis: redis,
      bytesMax: configuration.l1BytesMax / 4, times: configuration.dataTimes, delay: configuration.dataDelay,
      log: dataLog, metrics: metrics)
    services = configuration.services.map {
      ComputeServices(
        $0, patience: configuration.servicePatience, resolvers: resolvers, log: log.named("services"), metrics: metrics)
    }
    let waiting = metrics.gauge("millrace_api_waiting_clients", "Clients that wait for a task to be over.")
    board = CompletionBoard { waiting.set($0) }
    readiness = Readiness(queue)
    sealer = Sealer(key: configuration.secret.derived(for: "queue"))
    taskKeys = HMACSHA256(configuration.secret.derived(for: "task keys"))
    door = Admission(
      adminToken: configuration.adminToken, tokens: configuration.tokens, trustsLoopback: configuration.trustsLoopback)
  }

  /// Every path there is, and what answers it.
  static func routes(_ service: APIService, metrics: Metrics) -> Router<APIService> {
    let router = Router(service, door: service.door)
    for kind in TaskKind.hashes {
      router.on(.post, "/hash/\(kind.name)", .open, bodyBytesMax: Limits.hashBodyBytesMax) {
        (service, request, reactor) throws(Problem) in
        try await service.submitHash(kind, request, on: reactor)
      }
    }
    router.on(.post, "/hash/argon2/verify", .open, bodyBytesMax: Limits.verifyBodyBytesMax) {
      (service, request, reactor) throws(Problem) in
      try await service.verifyArgon2(request, on: reactor)
    }
    router.on(.get, "/stats", .admin) { (service, request, reactor) throws(Problem) in
      try await service.showStats(request, on: reactor)
    }
    router.on(.post, "/hash/batch", .open, bodyBytesMax: Limits.hashBodyBytesMax) {
      (service, request, reactor) throws(Problem) in
      try await service.submitBatch(request, on: reactor)
    }
    router.on(.post, "/longtask", .user, bodyBytesMax: Limits.longTaskBodyBytesMax) {
      (service, request, reactor) throws(Problem) in
      try await service.submitLongTask(request, on: reactor)
    }
    router.on(.post, "/task/{id:int}/cancel", .open) { (service, request, reactor) throws(Problem) in
      try await service.cancelTask(request, on: reactor)
    }
    router.on(.get, "/task/{id:int}/events", .open) { (service, request, reactor) throws(Problem) in
      try await service.watchTask(request, on: reactor)
    }
    router.on(.get, "/task/{id:int}", .open) { (service, request, reactor) throws(Problem) in
      try await service.showTask(request, on: reactor)
    }
    router.on(.get, "/tasks", .open) { (service, request, reactor) throws(Problem) in
      try await service.listTasks(request, on: reactor)
    }
    router.on(.get, "/hashes", .open) { (service, request, reactor) throws(Problem) in
      try await service.listHashes(request, on: reactor)
    }
    addDataRoutes(to: router)
    addCacheRoutes(to: router)
    router.on(.get, "/process", .user) { (service, request, reactor) throws(Problem) in
      try await service.process(request, on: reactor)
    }
    router.on(.get, "/health", .open) { (service, _, _) throws(Problem) in try service.health() }
    router.on(.get, "/cache/stats", .open) { (service, _, reactor) throws(Problem) in
      await service.cacheStatistics(on: reactor)
    }
    for path in ["/cache/clear", "/cache/flush"] {
      router.on(.post, path, .admin) { (service, _, reactor) throws(Problem) in
        try await service.clearCache(on: reactor)
      }
    }
    if let tokens = service.configuration.tokens, service.configuration.issuesTokens {
      router.on(.get, "/token", .open) { (service, _, _) throws(Problem) in try service.issueToken(by: tokens) }
    }
    router.addOperatorEndpoints(metrics: metrics) { (service, reactor) in await service.state(on: reactor) }
    return router
  }

  /// What is missing, and what is done without: hashes do without compute services.
  private func state(on reactor: isolated Reactor) async -> RoleState {
    var state = await readiness.state(on: reactor)
    if services?.isAnyFit(at: reactor.now) == false { state.degraded.append("a compute service") }
    return state
  }

  /// Lets the requests that `server` has in progress end. Those that wait for a task end at once.
  func end(_ server: HTTPServer, within span: TimeSpan, on reactor: isolated Reactor) async {
    board.stop()
    await server.drain(until: reactor.now + span, on: reactor)
  }

  /// What a client is told when PostgreSQL has no answer; the log has the reason under the same request id.
  /// - Parameter mayBeQueued: what failed may have stored a task all the same.
  func problem(_ error: QueueError, _ request: HTTPRequest, mayBeQueued: Bool = false) -> Problem {
    let message: StaticString =
      switch error.code {
      case .lacksSchema: "request failed; the schema is missing or old: run 'millrace migrate'"
      case .outgrown: "request failed; the schema is that of a newer program"
      default: "request failed"
      }
    log.warning(
      message,
      [
        ("request_id", String(decoding: request.id, as: UTF8.self)), ("reason", "\(error)"),
      ])
    if error.code == .unknown, mayBeQueued {
      return Problem(503, "The task store has not answered: the task may have been queued.", retryAfterSeconds: 1)
    }
    if error.isTransient {
      return Problem(503, "The task store cannot be reached at the moment. Try again.", retryAfterSeconds: 1)
    }
    return Problem(500, "Something went wrong on our side.")
  }
}
