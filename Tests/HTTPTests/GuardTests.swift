import HTTPSyntax
import Reactor
import TestSupport
import Testing

@testable import HTTP

/// Who may call a route is asked where it is not open to anybody, and nowhere else.
@Suite("Guarded routes", .timeLimit(.minutes(5))) struct GuardTests {
  /// Lets in who bears any token, and notes what it was asked.
  private final class Doorman: RouteGuard {
    private(set) var asked: [RouteAccess] = []

    func check(_ request: HTTPRequest, for access: RouteAccess, on reactor: isolated Reactor) throws(Problem) {
      asked.append(access)
      guard request.value(of: .authorization) != nil else { throw Problem(401, "Who are you?") }
    }
  }

  private static func router(_ door: Doorman) -> Router<Int> {
    let router = Router(0, door: door)
    router.on(.get, "/hello", .open) { (_, _, _) throws(Problem) in .text(200, "hello") }
    router.on(.post, "/task/{id:int}", .user) { (_, _, _) throws(Problem) in .text(200, "done") }
    router.on(.delete, "/task/{id:int}", .admin) { (_, _, _) throws(Problem) in .text(200, "gone") }
    return router
  }

  private static func request(_ line: String, _ fields: String = "") throws -> HTTPRequest {
    let head = "\(line) HTTP/1.1\r\nHost: a\r\n\(fields)\r\n"
    return try #require(
      HTTPRequest(headBytes: Array(head.utf8), body: [], id: [], peer: SocketAddress("10.0.0.1:1")!))
  }

  @Test("who is not let in is refused by the head, so that no body is waited for") func head() async throws {
    try await onReactor { reactor in
      let door = Doorman()
      let router = Self.router(door)
      for (fields, isLetIn) in [("", false), ("Authorization: x\r\n", true)] {
        let request = try Self.request("POST /task/1", "Content-Length: 1000\r\n" + fields)
        switch router.admit(request, on: reactor) {
        case .body: #expect(isLetIn)
        case .refuse(let response): #expect(!isLetIn && response.status == 401)
        case .stream: Issue.record("the route takes its body whole")
        }
      }
      #expect(await router.answer(try Self.request("DELETE /task/1"), on: reactor).status == 401)
      #expect(door.asked == [.user, .user, .admin])
    }
  }

  @Test("at a route that is open, and where there is none, nobody is asked") func open() async throws {
    try await onReactor { reactor in
      let door = Doorman()
      let router = Self.router(door)
      for (line, status) in [
        ("GET /hello", 200), ("HEAD /hello", 200), ("GET /nothing", 404), ("PUT /task/1", 405),
        ("OPTIONS /task/1", 204),
      ] {
        let answer = await router.answer(try Self.request(line), on: reactor)
        #expect(answer.status == status, "\(line)")
      }
      #expect(door.asked.isEmpty)
    }
  }

  @Test("every route is listed with who may call it") func table() {
    #expect(
      Self.router(Doorman()).table.map { "\($0.method.name) \($0.pattern) \($0.access)" } == [
        "GET /hello open", "POST /task/{id:int} user", "DELETE /task/{id:int} admin",
      ])
  }
}
