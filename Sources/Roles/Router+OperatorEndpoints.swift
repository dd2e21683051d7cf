import Basics
public import HTTP
import HTTPSyntax
public import Reactor
public import Telemetry

extension Router {
  /// Adds what every role answers: `/livez` (the process turns), `/readyz` (200 while `notReady` names nothing, else
  /// 503 with what is missing), and `/metrics` in the Prometheus text format.
  public func addOperatorEndpoints(
    metrics: Metrics, notReady: @escaping (Context, isolated Reactor) async -> [String]
  ) {
    on(.get, "/livez") { (_, _, _) throws(Problem) in
      HTTPResponse.json(200, Array(#"{"status":"alive"}"#.utf8))
    }
    on(.get, "/readyz") { (context, _, reactor) throws(Problem) in
      let missing = await notReady(context, reactor)
      var json = JSONWriter()
      json.object { json in
        json.field("status", missing.isEmpty ? "ready" : "not ready")
        if missing.isEmpty { return }
        json.key("waiting_for")
        json.array { json in
          for name in missing { json.string(name) }
        }
      }
      return HTTPResponse.json(missing.isEmpty ? 200 : 503, json.bytes)
    }
    on(.get, "/metrics") { (_, _, _) throws(Problem) in
      HTTPResponse(200, "text/plain; version=0.0.4; charset=utf-8", metrics.rendered())
    }
  }
}
