import Basics
import HTTP
import HTTPSyntax
import Reactor
@testable import TaskQueue
import Telemetry
import TestSupport
import Testing

@testable import Worker

@Suite("Who may call what of a worker", .timeLimit(.minutes(5))) struct RouteTests {
  /// Every path of a worker, and who may call it. A route that is added has to be added here, too.
  private static let routes = ["GET /livez open", "GET /readyz open", "GET /metrics open"]

  @Test("each route that there is is open to everybody") func everyRoute() async throws {
    let pool = try ComputePool(width: 1)
    try await onReactor { reactor in
      let log = Logger(sink: LogSink(fd: 2), subsystem: "test", level: .error)
      let metrics = Metrics()
      let queue = QueueWorker(QueueConfiguration(), name: "test", pool: pool, log: log, metrics: metrics)
      let router = WorkerProcess.routes(queue, metrics: metrics)
      #expect(router.table.map { "\($0.method.name) \($0.pattern) \($0.access)" }.sorted() == Self.routes.sorted())
      for route in router.table {
        let head = "\(route.method.name) \(Caller.path(for: route.pattern)) HTTP/1.1\r\nHost: a\r\n\r\n"
        let request = try #require(
          HTTPRequest(headBytes: Array(head.utf8), body: [], id: [], peer: SocketAddress("10.0.0.1:1")!))
        let status = await router.answer(request, on: reactor).status
        #expect(status != 401 && status != 403, "\(route): \(status)")
      }
    }
  }
}
