import Basics
import HTTP
public import Reactor
public import Roles
public import Telemetry
import VersionedStore

/// A whole server on one reactor.
public final class KeyValueServerProcess: Role {
  private let configuration: KeyValueServerConfiguration
  private let log: Logger
  private let service: KeyValueService
  private let server: HTTPServer
  /// The engine, if it has connections of its own.
  private let postgres: PostgresEngine?

  /// Runs a server on the calling thread until it is told to stop by a signal, which must be blocked already.
  /// - Throws: `SystemError` if the process lacks descriptors or threads, or an address is taken.
  public static func run(
    _ configuration: KeyValueServerConfiguration, _ place: KeyValueStorePlace, log: Logger, metrics: Metrics
  ) throws(SystemError) {
    try RoleProcess.run { (reactor) throws(SystemError) in
      let process = try KeyValueServerProcess(configuration, place, log: log, metrics: metrics)
      process.postgres?.start(on: reactor)
      for address in configuration.endpoints { try process.server.listen(on: address, on: reactor) }
      log.info(
        "listening",
        [
          ("server", configuration.name), ("listens", "\(configuration.endpoints)"), ("store", place.description),
          ("partitions", "\(place.partitions)"),
        ])
      return process
    }
  }

  private init(
    _ configuration: KeyValueServerConfiguration, _ place: KeyValueStorePlace, log: Logger, metrics: Metrics
  ) throws(SystemError) {
    self.configuration = configuration
    self.log = log
    let engine: any StoreEngine
    switch place {
    case .folder(let folder):
      engine = try SQLiteEngine(folder, holder: configuration.name, maxVersions: configuration.maxVersions)
      postgres = nil
    case .postgres(let database, let partitions):
      let its = PostgresEngine(
        database, partitions: partitions, maxVersions: configuration.maxVersions,
        pool: try ComputePool(width: 2, name: "helper"), log: log, metrics: metrics)
      (engine, postgres) = (its, its)
    }
    MemoryMetrics.register(in: metrics, limitBytes: configuration.memoryBytes)
    let store = Store(
      engine, partitionCount: place.partitions, cacheEntriesMax: configuration.cacheEntries,
      cacheBytesMax: configuration.memoryBytes / 4, metrics: metrics)
    service = KeyValueService(configuration, store, log: log, metrics: metrics)
    let serverMetrics = HTTPServerMetrics(metrics)
    server = HTTPServer(
      handler: KeyValueService.routes(service, metrics: metrics), metrics: serverMetrics, log: log,
      budget: ByteBudget(limit: configuration.memoryBytes / 4, metrics: serverMetrics.buffers))
  }

  /// No new connections, requests under way end, then others may have the partitions.
  public func stop(on reactor: isolated Reactor) async {
    log.info("stopping")
    service.stop(on: reactor)
    await server.drain(until: reactor.now + configuration.drain, on: reactor)
    await service.close(on: reactor)
    postgres?.end(on: reactor)
    log.info("stopped")
  }
}
