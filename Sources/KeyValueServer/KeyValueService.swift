import Basics
import HTTP
import HTTPSyntax
import Reactor
import Roles
import Telemetry
import VersionedStore

/// What all routes work on. It lives on its reactor and is handed to each route's action by the router.
final class KeyValueService {
  let configuration: KeyValueServerConfiguration
  let store: Store
  let log: Logger
  let peers: Peers
  let polls: PeerPolls
  let placement: Placement
  let load: ServerLoad
  private let handover: Handover
  /// Whether nobody is to wait any more.
  private(set) var isStopping = false
  private var waiting: [ObjectIdentifier: Pause] = [:]
  /// Partitions whose file is damaged.
  private var damaged: Set<Int> = []
  private let watchersGauge: Gauge

  /// A service for the keys of `store`.
  init(
    _ configuration: KeyValueServerConfiguration, _ store: Store, log: Logger, metrics: Metrics
  ) {
    (self.configuration, self.store, self.log) = (configuration, store, log)
    peers = Peers(configuration.peers, own: configuration.name)
    polls = PeerPolls(peers)
    handover = Handover(store, peers, own: configuration.name)
    let names = configuration.peers.map(\.name)
    placement = Placement(
      servers: names.contains(configuration.name) ? names : [configuration.name] + names,
      partitions: store.partitionCount)
    load = ServerLoad(metrics)
    watchersGauge = metrics.gauge("millrace_kv_watchers", "Clients that watch keys.")
  }

  /// Every path there is, and what answers it. Nothing is guarded: whoever reaches the server may use it.
  static func routes(_ service: KeyValueService, metrics: Metrics) -> Router<KeyValueService> {
    let router = Router(service)
    for method in [HTTPMethod.put, .post] {
      service.add(method, "/put/{key}", bodyBytesMax: Limits.valueBodyBytesMax, to: router) {
        (service, request, reactor) throws(Problem) in try await service.put(request, on: reactor)
      }
    }
    service.add(.get, "/get/{key}", to: router) { (service, request, reactor) throws(Problem) in
      try await service.get(request, on: reactor)
    }
    service.add(.delete, "/delete/{key}", to: router) { (service, request, reactor) throws(Problem) in
      try await service.delete(request, on: reactor)
    }
    service.add(.get, "/history/{key}", to: router) { (service, request, reactor) throws(Problem) in
      try await service.history(request, on: reactor)
    }
    service.add(.post, "/batch/{key}", bodyBytesMax: Limits.batchBodyBytesMax, to: router) {
      (service, request, reactor) throws(Problem) in try await service.batch(request, on: reactor)
    }
    service.add(.get, "/keys", to: router) { (service, request, reactor) throws(Problem) in
      try await service.listKeys(request, on: reactor)
    }
    router.on(.get, "/watch", .open) { (service, request, reactor) throws(Problem) in
      try await service.watch(request, on: reactor)
    }
    router.on(.get, "/servers", .open) { (service, _, reactor) throws(Problem) in
      await service.listServers(on: reactor)
    }
    router.on(.get, "/cache/stats", .open) { (service, request, reactor) throws(Problem) in
      try await service.cacheStatistics(request, on: reactor)
    }
    router.on(.get, "/db/stats", .open) { (service, request, reactor) throws(Problem) in
      try await service.storeStatistics(request, on: reactor)
    }
    router.on(.get, "/insights", .open) { (service, request, reactor) throws(Problem) in
      try await service.insights(request, on: reactor)
    }
    router.on(.post, "/partitions/{number:int}/leave", .open) { (service, request, reactor) throws(Problem) in
      try await service.leave(request, on: reactor)
    }
    router.on(.get, "/partitions/{numbers}/keys", .open) { (service, request, reactor) throws(Problem) in
      try await service.listOwnKeys(request, on: reactor)
    }
    router.on(.get, "/partitions/{numbers}/events", .open) { (service, request, reactor) throws(Problem) in
      try await service.tellNews(request, on: reactor)
    }
    router.on(.get, "/health", .open) { (service, _, _) throws(Problem) in
      var json = JSONWriter(capacity: 96)
      json.object { json in
        json.field("status", "healthy")
        json.field("service", "key-value-server")
        json.field("instance", service.configuration.name)
        json.field("partitions", service.store.partitionCount)
      }
      return .json(200, json.bytes)
    }
    router.addOperatorEndpoints(metrics: metrics) { (service, _) in service.state }
    return router
  }

  /// Adds a route whose requests and latency are counted.
  private func add(
    _ method: HTTPMethod, _ pattern: String, bodyBytesMax: Int = HTTPLimits.bodyBytesMax,
    to router: Router<KeyValueService>,
    _ action:
      @escaping @Sendable (KeyValueService, HTTPRequest, isolated Reactor) async throws(Problem)
      -> HTTPResponse
  ) {
    router.on(method, pattern, .open, bodyBytesMax: bodyBytesMax) { (service, request, reactor) throws(Problem) in
      let began = MonotonicTime.current()
      defer { service.load.served(in: MonotonicTime.current().since(began)) }
      return try await action(service, request, reactor)
    }
  }

  private var state: RoleState {
    RoleState(
      missing: store.missing.map { [$0] } ?? [],
      degraded: damaged.sorted().map { "partition \($0), whose file is damaged" })
  }

  /// `server-1:8080`: who has answered.
  var usedName: String {
    guard let address = configuration.endpoints.first(where: { !$0.isUnix }) else { return configuration.name }
    return "\(configuration.name):\(address.port)"
  }

  // MARK: Partitions

  /// Makes a partition this server's, if another one has it by asking that one.
  /// - Throws: `Problem` 503 if that one does not give it away, and never 404: who has it may well know the key.
  func take(_ partition: Int, for request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) {
    if store.holds(partition) { return }
    // What it has given up others are to have.
    if isStopping { throw unavailable("This server stops.", "this server stops", request) }
    do throws(StoreError) {
      let began = MonotonicTime.current()
      try await handover.take(partition, on: reactor)
      damaged.remove(partition)
      log.info(
        "has a partition",
        [("partition", "\(partition)"), ("after_ms", "\(MonotonicTime.current().since(began).milliseconds)")])
    } catch {
      if case .damaged = error { damaged.insert(partition) }
      throw problem(error, request)
    }
  }

  /// What a client is told when the store has no answer; the log has the reason under the same request id.
  /// - Parameter mayBeDone: what failed may have changed something all the same.
  func problem(_ error: StoreError, _ request: HTTPRequest, mayBeDone: Bool = false) -> Problem {
    switch error {
    case .held(let name): return unavailable("This key's partition is at '\(name)'.", "\(error)", request)
    case .full:
      log.warning("request failed", KeyValueService.fields("\(error)", request))
      return Problem(507, "There is no room for what was sent; nothing was stored.", retryAfterSeconds: 10)
    case .damaged, .foreign:
      log.error("request failed", KeyValueService.fields("\(error)", request))
      return Problem(500, "Something went wrong on our side.")
    case .failed where mayBeDone:
      return unavailable("The store has not answered: what was sent may be stored.", "\(error)", request)
    case .busy, .unavailable, .failed:
      return unavailable("The store cannot answer at the moment. Try again.", "\(error)", request)
    }
  }

  /// The problem of what may well work a moment later; the log has `reason` under the same request id.
  func unavailable(_ detail: String, _ reason: String, _ request: HTTPRequest) -> Problem {
    log.warning("request failed", KeyValueService.fields(reason, request))
    return Problem(503, detail, retryAfterSeconds: 1)
  }

  private static func fields(_ reason: String, _ request: HTTPRequest) -> [Logger.Field] {
    [("request_id", String(decoding: request.id, as: UTF8.self)), ("reason", reason)]
  }

  // MARK: Waiting

  /// Whether the client of `request` is not to be kept waiting any more.
  func isEnded(_ request: HTTPRequest) -> Bool { isStopping || request.hasClientEnded }

  /// Counts a client that watches and ends its `pause` when the process stops; whether there is room for it.
  func admitWatcher(_ pause: Pause) -> Bool {
    guard waiting.count < Limits.watchersMax, !isStopping else { return false }
    waiting[ObjectIdentifier(pause)] = pause
    watchersGauge.set(waiting.count)
    return true
  }

  /// It does not watch any more.
  func dismissWatcher(_ pause: Pause) {
    waiting[ObjectIdentifier(pause)] = nil
    watchersGauge.set(waiting.count)
  }

  /// The process stops: whoever watches is let go, and partitions that nobody asks for any more go at once. A client
  /// that is slow with one key keeps no other server from the others.
  func stop(on reactor: isolated Reactor) {
    isStopping = true
    for pause in waiting.values { pause.end() }
    Task.immediate(executorPreference: reactor.queue) {
      while !store.open.isEmpty {
        for partition in store.open {
          _ = await store.leave(partition, unusedFor: Limits.unusedBeforeLeaving, on: reactor)
        }
        await reactor.sleep(for: Limits.peerPause)
      }
    }
  }

  /// Gives up all partitions.
  func close(on reactor: isolated Reactor) async {
    peers.close(on: reactor)
    await store.close(on: reactor)
  }
}
