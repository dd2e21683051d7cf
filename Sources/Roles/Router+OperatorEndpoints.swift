import Basics
public import HTTP
import HTTPSyntax
public import Reactor
public import Telemetry

extension Router {
  /// Adds what every role answers: `/livez` (the process turns, whatever becomes of others: who restarts it for a
  /// database that is away has two outages), `/readyz` (200 while `state` misses nothing, else 503; what is waited for
  /// is named in both), and `/metrics` in the Prometheus text format.
  public func addOperatorEndpoints(
    metrics: Metrics, state: @escaping (Context, isolated Reactor) async -> RoleState
  ) {
    on(.get, "/livez", .open) { (_, _, _) throws(Problem) in
      HTTPResponse.json(200, Array(#"{"status":"alive"}"#.utf8))
    }
    on(.get, "/readyz", .open) { (context, _, reactor) throws(Problem) in
      let state = await state(context, reactor)
      let isReady = state.missing.isEmpty
      let waitingFor = state.missing + state.degraded
      var json = JSONWriter()
      json.object { json in
        json.field("status", isReady ? waitingFor.isEmpty ? "ready" : "degraded" : "not ready")
        if waitingFor.isEmpty { return }
        json.key("waiting_for")
        json.array { json in
          for name in waitingFor { json.string(name) }
        }
      }
      return HTTPResponse.json(isReady ? 200 : 503, json.bytes)
    }
    on(.get, "/metrics", .open) { (_, _, _) throws(Problem) in
      HTTPResponse(200, "text/plain; version=0.0.4; charset=utf-8", metrics.rendered())
    }
  }
}
