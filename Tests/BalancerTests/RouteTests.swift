@testable import Balancer
import Basics
import HTTP
import HTTPSyntax
import Reactor
import TestSupport
import Testing
import Tokens

@Suite("Who may call what of the balancer", .timeLimit(.minutes(5))) struct RouteTests {
  /// Every path of the balancer, and who may call it. A route that is added has to be added here, too.
  private static let routes = [
    "GET / open", "GET /lb/health open", "GET /lb/stats open", "GET /lb/rate-limits admin", "POST /lb/strategy admin",
    "POST /lb/backends admin", "DELETE /lb/backends/{name} admin", "PATCH /lb/backends/{name} admin",
    "GET /livez open", "GET /readyz open", "GET /metrics open",
  ]

  @Test("nobody, a user and an admin are let in where they may be, at each route that there is")
  func everyRoute() async throws {
    let folder = TemporaryFolder()
    let path = folder.path + "/token.keys"
    try TokenKeys.new(.ed25519).store(path: path)
    let tokens = try TokenAuthority(keysAt: path)
    // It needs the public part alone.
    try #require(try TokenKeys.load(path: path).publicPart).store(path: folder.path + "/believers.keys")
    let believes = try TokenAuthority(keysAt: folder.path + "/believers.keys")
    try await onReactor { reactor in
      let configuration = testConfiguration([SocketAddress("127.0.0.1:1")!]) {
        $0.tokens = believes
        $0.trustsLoopback = false
      }
      let router = AdminRoutes.router(
        AdminContext(BalancerShared(configuration, metrics: sharedMetrics, log: silentLog, mail: [ReactorMail()])))
      let table = router.table
      #expect(table.map { "\($0.method.name) \($0.pattern) \($0.access)" }.sorted() == Self.routes.sorted())
      let now = Timestamp.current().seconds
      for route in table {
        for caller in Caller.allCases {
          let scopes = caller == .admin ? ["admin"] : []
          let token = try #require(tokens.token(for: "ann", scopes: scopes, lifetimeSeconds: 60, at: now))
          let line = caller == .nobody ? "" : "Authorization: Bearer \(String(decoding: token, as: UTF8.self))\r\n"
          let head = "\(route.method.name) \(Caller.path(for: route.pattern)) HTTP/1.1\r\nHost: a\r\n\(line)\r\n"
          let request = try #require(
            HTTPRequest(headBytes: Array(head.utf8), body: [], id: [], peer: SocketAddress("10.0.0.1:1")!))
          let status = await router.answer(request, on: reactor).status
          let refusal = caller.refusal(from: "\(route.access)")
          #expect(refusal.map { status == $0 } ?? (status != 401 && status != 403), "\(route) \(caller): \(status)")
        }
      }
    }
  }
}
