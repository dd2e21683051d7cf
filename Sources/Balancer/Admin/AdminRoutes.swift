import Backends
import Balancing
import Basics
import HTTP
import HTTPSyntax
import Reactor
import Roles
import Telemetry

/// The balancer's own endpoints.
enum AdminRoutes {
  private static let strategyFields = JSONFields("strategy", "new_strategy")

  static func router(_ context: AdminContext) -> Router<AdminContext> {
    let configuration = context.shared.configuration
    let door = Admission(
      adminToken: configuration.adminToken, tokens: configuration.tokens, trustsLoopback: configuration.trustsLoopback)
    let router = Router(context, door: door)
    router.addOperatorEndpoints(metrics: context.shared.registry) { (context, _) in
      RoleState(missing: context.shared.register.backends.unchecked)
    }
    router.on(.get, "/", .open) { (context, _, reactor) throws(Problem) in overview(context.shared, nowMs(reactor)) }
    router.on(.get, "/lb/health", .open) { (_, _, _) throws(Problem) in
      .json(200, Array(#"{"status":"healthy","service":"loadbalancer"}"#.utf8))
    }
    router.on(.get, "/lb/stats", .open) { (context, _, reactor) throws(Problem) in stats(context, nowMs(reactor)) }
    router.on(.get, "/lb/rate-limits", .admin) { (context, request, reactor) throws(Problem) in
      try rateLimits(context.shared, of: request.query("ip"), nowMs(reactor))
    }
    router.on(.post, "/lb/strategy", .admin, bodyBytesMax: 4096) { (context, request, _) throws(Problem) in
      try changeStrategy(context.shared, request)
    }
    BackendRoutes.add(to: router)
    return router
  }

  private static func nowMs(_ reactor: isolated Reactor) -> UInt64 { reactor.now.nanoseconds / 1_000_000 }

  private static func overview(_ shared: BalancerShared, _ nowMs: UInt64) -> HTTPResponse {
    var json = JSONWriter()
    json.object { json in
      json.field("service", "Load Balancer")
      json.field("status", "running")
      json.key("gateways")
      json.object { json in
        for entry in shared.register.backends.entries {
          json.key(entry.backend.name)
          json.object {
            $0.field("address", entry.address.description)
            $0.field("state", entry.backend.state(at: nowMs).rawValue)
          }
        }
      }
    }
    return .json(200, json.bytes)
  }

  private static func stats(_ context: AdminContext, _ nowMs: UInt64) -> HTTPResponse {
    let shared = context.shared
    var json = JSONWriter(capacity: 2048)
    json.object { json in
      json.field("strategy", shared.strategy.rawValue)
      json.field("active_ips", context.activeAddresses(at: nowMs))
      json.key("rate_limit_config")
      json.object {
        $0.field("requests_per_window", shared.limiter.quota)
        $0.field("window_seconds", Int(shared.limiter.windowMs / 1000))
      }
      json.key("backends")
      json.array { json in
        for entry in shared.register.backends.entries { write(entry, nowMs, to: &json) }
      }
    }
    return .json(200, json.bytes)
  }

  private static func write(_ entry: BackendEntry, _ nowMs: UInt64, to json: inout JSONWriter) {
    let backend = entry.backend
    let latency = entry.latency
    let checkedMs = entry.lastCheck.ms
    json.object { json in
      json.field("name", backend.name)
      json.field("address", entry.address.description)
      json.field("state", backend.state(at: nowMs).rawValue)
      json.field("purpose", entry.purpose.rawValue)
      json.field("weight", backend.weight)
      json.field("in_flight", backend.inFlight)
      json.field("requests", backend.requests)
      json.field("errors", backend.errors)
      json.key("last_check_seconds_ago")
      if checkedMs == 0 { json.null() } else { json.double(Double(nowMs - min(checkedMs, nowMs)) / 1000) }
      json.key("latency_seconds")
      json.object { json in
        json.key("p50")
        write(latency.percentile(0.5), to: &json)
        json.key("p90")
        write(latency.percentile(0.9), to: &json)
        json.key("p99")
        write(latency.percentile(0.99), to: &json)
      }
    }
  }

  private static func write(_ span: TimeSpan?, to json: inout JSONWriter) {
    if let span { json.double(span.seconds) } else { json.null() }
  }

  private static func rateLimits(
    _ shared: BalancerShared, of ip: String?, _ nowMs: UInt64
  ) throws(Problem) -> HTTPResponse {
    var usages: [RateLimiter.Usage] = []
    if let ip {
      guard let key = SocketAddress(ip: ip, port: 0).map(ClientKey.init(of:)) else {
        throw Problem(400, "ip is not an address.")
      }
      if let usage = shared.limiter.usage(of: key, at: nowMs) { usages.append(usage) }
    } else {
      shared.limiter.forEachClient(at: nowMs) { usages.append($0) }
    }
    var json = JSONWriter(capacity: 1024)
    json.object { json in
      for usage in usages {
        json.key(usage.client.text)
        json.object {
          $0.field("requests_in_window", usage.requests)
          $0.field("requests_remaining", usage.remaining)
          $0.field("window_reset_in", usage.resetSeconds)
        }
      }
    }
    return .json(200, json.bytes)
  }

  private static func changeStrategy(_ shared: BalancerShared, _ request: HTTPRequest) throws(Problem) -> HTTPResponse {
    var given = try request.query("new_strategy")
    if given == nil { given = try strategyName(inBody: request.body) }
    guard let name = given else {
      throw Problem(
        422, "The strategy is missing.", errors: [Problem.FieldError("strategy", "the field is missing")])
    }
    guard let new = Strategy(name: name) else {
      throw Problem(400, "There is no such strategy; the valid ones are \(Strategy.names.joined(separator: ", ")).")
    }
    let old = shared.strategy
    shared.strategy = new
    shared.log.info("the strategy was changed", [("old", old.rawValue), ("new", new.rawValue)])
    var json = JSONWriter()
    json.object {
      $0.field("message", "Strategy changed to \(new.rawValue)")
      $0.field("old_strategy", old.rawValue)
      $0.field("new_strategy", new.rawValue)
    }
    return .json(200, json.bytes)
  }

  private static func strategyName(inBody body: [UInt8]) throws(Problem) -> String? {
    if body.isEmpty { return nil }
    do throws(JSONError) {
      return try JSONScanner.read(body) { (scanner: inout JSONScanner) throws(JSONError) in
        var name: String?
        try scanner.object(strategyFields) { (scanner: inout JSONScanner, _) throws(JSONError) in
          name = String(decoding: try scanner.string(), as: UTF8.self)
        }
        return name
      }
    } catch {
      throw Problem(error)
    }
  }
}
