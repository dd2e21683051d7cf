import Basics
import HTTP
import Reactor
import Telemetry

/// A backend made of the real server.
final class OriginServer {
  private let name: String
  private let ledger: Ledger
  private var posts = 0

  private init(_ name: String, _ ledger: Ledger) {
    self.name = name
    self.ledger = ledger
  }

  /// Starts one on a free port, or where told.
  static func start(
    _ name: String, at address: String = "127.0.0.1:0", times: HTTPServerTimes = HTTPServerTimes(),
    ledger: Ledger = Ledger(), on reactor: isolated Reactor
  ) throws(SystemError) -> (HTTPServer, SocketAddress) {
    let router = Router(OriginServer(name, ledger))
    router.on(.get, "/health", .open) { (_, _, _) throws(Problem) in .text(200, RawBackend.health) }
    router.on(.get, "/who", .open) { (origin, _, _) throws(Problem) in .text(200, origin.name) }
    router.on(.get, "/echo/{word}", .open) { (_, request, _) throws(Problem) in
      .text(200, "echo \(request.parameter("word"))")
    }
    router.on(.post, "/count", .open) { (origin, _, _) throws(Problem) in
      origin.posts += 1
      return .text(200, "\(origin.posts)")
    }
    router.on(.post, "/note/{token}", .open) { (origin, request, _) throws(Problem) in
      let token = request.parameter("token")
      origin.ledger.note(token)
      return .text(200, "\(token) \(request.body.count)")
    }
    router.on(.post, "/body", .open, bodyBytesMax: 16 << 20) { (_, request, _) throws(Problem) in
      HTTPResponse(200, "application/octet-stream", request.body)
    }
    router.on(.get, "/slow", .open) { (_, _, reactor) throws(Problem) in
      await reactor.sleep(for: .milliseconds(150))
      return .text(200, "slow")
    }
    router.on(.get, "/longer-than-connecting", .open) { (_, _, reactor) throws(Problem) in
      await reactor.sleep(for: .milliseconds(1200))
      return .text(200, "at last")
    }
    let server = HTTPServer(handler: router, metrics: HTTPServerMetrics(sharedMetrics), log: silentLog, times: times)
    return (server, try server.listen(on: SocketAddress(address)!, on: reactor))
  }
}
