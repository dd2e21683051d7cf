import Basics
import HTTP
import HTTPSyntax
public import Reactor
public import Roles
public import Telemetry

/// A whole compute service on one reactor.
public final class ComputeServiceProcess: Role {
  private let configuration: ComputeServiceConfiguration
  private let log: Logger
  private let server: HTTPServer

  /// Runs a compute service on the calling thread until it is told to stop by a signal, which must be blocked already.
  /// - Throws: `SystemError` if the process lacks descriptors, or an address is taken.
  public static func run(
    _ configuration: ComputeServiceConfiguration, log: Logger, metrics: Metrics
  ) throws(SystemError) {
    try RoleProcess.run { (reactor) throws(SystemError) in
      let process = ComputeServiceProcess(configuration, log: log, metrics: metrics)
      for address in configuration.endpoints { try process.server.listen(on: address, on: reactor) }
      log.info("listening", [("service", configuration.name), ("listens", "\(configuration.endpoints)")])
      return process
    }
  }

  private init(_ configuration: ComputeServiceConfiguration, log: Logger, metrics: Metrics) {
    self.configuration = configuration
    self.log = log
    MemoryMetrics.register(in: metrics, limitBytes: configuration.memoryBytes)
    let serverMetrics = HTTPServerMetrics(metrics)
    server = HTTPServer(
      handler: ComputeServiceProcess.routes(configuration, metrics: metrics), metrics: serverMetrics, log: log,
      budget: ByteBudget(limit: configuration.memoryBytes / 4, metrics: serverMetrics.buffers))
  }

  /// Every path there is, and what answers it. It waits for nobody, so it is always ready.
  static func routes(
    _ configuration: ComputeServiceConfiguration, metrics: Metrics
  ) -> Router<ComputeServiceConfiguration> {
    let router = Router(configuration)
    router.on(.get, "/process", .open) { (configuration, _, reactor) throws(Problem) in
      await process(configuration, on: reactor)
    }
    router.on(.get, "/health", .open) { (configuration, _, _) throws(Problem) in
      var json = JSONWriter(capacity: 96)
      json.object { json in
        json.field("status", "healthy")
        json.field("service", "compute-service")
        json.field("instance", configuration.name)
      }
      return .json(200, json.bytes)
    }
    router.addOperatorEndpoints(metrics: metrics) { _, _ in RoleState() }
    return router
  }

  private static func process(
    _ configuration: ComputeServiceConfiguration, on reactor: isolated Reactor
  ) async -> HTTPResponse {
    if configuration.delay.nanoseconds > 0 { await reactor.sleep(for: configuration.delay) }
    var json = JSONWriter(capacity: 96)
    json.object { json in
      json.field("message", "Processed by \(configuration.name)")
      json.field("service_id", configuration.name)
    }
    return .json(200, json.bytes)
  }

  /// No new connections, and requests under way end.
  public func stop(on reactor: isolated Reactor) async {
    log.info("stopping")
    await server.drain(until: reactor.now + configuration.drain, on: reactor)
    log.info("stopped")
  }
}
