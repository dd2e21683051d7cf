import Backends
import Basics
import Glibc
import HTTP
public import Reactor
import Redis
public import Roles
import TaskQueue
import Tasks
public import Telemetry

/// A whole API process on one reactor: starts everything in order, and lets requests under way end when it is stopped.
public final class APIProcess: Role {
  private let configuration: APIConfiguration
  private let log: Logger
  private let metrics: Metrics
  private let service: APIService
  private let server: HTTPServer
  private var subscriber: RedisSubscriber?

  /// Runs an API process on the calling thread until it is told to stop by a signal, which must be blocked already.
  /// - Throws: `SystemError` if the process lacks descriptors or threads, or an address is taken.
  public static func run(_ configuration: APIConfiguration, log: Logger, metrics: Metrics) throws(SystemError) {
    let pool = try ComputePool(width: 2, name: "helper")
    // Not those that look names up, for these may be held up by a name server that is silent.
    let digests = try ComputePool(width: 1, name: "digest")
    let names = min(configuration.services?.names.count ?? 0, BackendLimits.lookUpThreadsMax)
    let resolvers = names > 0 ? try ComputePool(width: names, name: "resolver") : nil
    try RoleProcess.run(holdsSecrets: true) { (reactor) throws(SystemError) in
      let process = APIProcess(
        configuration, pool: pool, digests: digests, resolvers: resolvers, log: log, metrics: metrics, on: reactor)
      try process.start(pool: pool, on: reactor)
      return process
    }
  }

  private init(
    _ configuration: APIConfiguration, pool: ComputePool, digests: ComputePool, resolvers: ComputePool?, log: Logger,
    metrics: Metrics, on reactor: isolated Reactor
  ) {
    self.configuration = configuration
    self.log = log
    self.metrics = metrics
    let queue = QueueClient(configuration.queue, pool: pool, log: log, metrics: metrics)
    let redis = configuration.redis.map {
      RedisClient($0, resolver: Resolver(pool: pool), logger: log, metrics: RedisMetrics(metrics), on: reactor)
    }
    service = APIService(
      configuration, queue: queue, redis: redis, pool: digests, resolvers: resolvers, log: log, metrics: metrics)
    MemoryMetrics.register(in: metrics, limitBytes: configuration.memoryBytes)
    let serverMetrics = HTTPServerMetrics(metrics)
    server = HTTPServer(
      handler: APIService.routes(service, metrics: metrics), metrics: serverMetrics, log: log,
      budget: ByteBudget(limit: configuration.memoryBytes / 4, metrics: serverMetrics.buffers))
  }

  private func start(pool: ComputePool, on reactor: isolated Reactor) throws(SystemError) {
    service.queue.start(on: reactor)
    service.data.start(on: reactor)
    service.services?.start(on: reactor)
    for address in configuration.endpoints { try server.listen(on: address, on: reactor) }
    if let redis = configuration.redis {
      subscriber = RedisSubscriber(
        redis,
        channels: APIService.channels.map { Array($0.utf8) },
        resolver: Resolver(pool: pool), logger: log, metrics: RedisMetrics(metrics), receiver: service, on: reactor)
    }
    log.info(
      "listening", [("instance", configuration.instance), ("listens", "\(configuration.endpoints)")])
  }

  /// Clients that wait for a task are told how it is, no new connections, requests under way end, then everything
  /// closes.
  public func stop(on reactor: isolated Reactor) async {
    log.info("stopping")
    await service.end(server, within: configuration.drain, on: reactor)
    await service.services?.stop(on: reactor)
    subscriber?.close(on: reactor)
    service.data.close(on: reactor)
    service.redis?.close(on: reactor)
    service.queue.close(on: reactor)
    log.info("stopped")
  }
}
