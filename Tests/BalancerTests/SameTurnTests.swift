@testable import Balancer
import Basics
import Glibc
import HTTP
import Reactor
import TestSupport
import Testing

/// What a balancer does about events of one turn. It runs on the test's own reactor, so what the test does without a
/// pause comes to it at once, in the order in which it was done.
@Suite("Same turn", .timeLimit(.minutes(5))) struct SameTurnTests {
  /// Closes a connection within a turn, before the events that come behind its own.
  private final class Closing: EventHandler {
    private var ends: [CInt] = [-1, -1]
    private let connection: RawConnection

    init(_ connection: RawConnection, on reactor: isolated Reactor) throws(SystemError) {
      self.connection = connection
      super.init()
      pipe(&ends)
      try reactor.register(self, fd: ends[0], events: .readable)
    }

    /// Comes about in the next turn.
    func order() {
      Glibc.close(ends[1])
    }

    override func ready(_ events: ReadyEvents, on reactor: isolated Reactor) {
      reactor.deregister(fd: ends[0])
      Glibc.close(ends[0])
      connection.close(on: reactor)
    }
  }

  /// Two requests on one client connection: what is answered to both after `meeting` has sent the second one, and how
  /// often a backend got that.
  private func second(
    idle: TimeSpan = .seconds(60 as UInt64),
    _ meeting: @escaping @Sendable (_ client: RawConnection, _ kept: RawConnection, isolated Reactor) throws -> Void
  ) async throws -> (answer: String, requests: Int) {
    try await onOneReactor {
      $0.times.idle = idle
    } run: { around, reactor in
      let (client, backend) = (around.client, around.backend)
      await client.ask(request("GET /first", kept: true), until: "\r\n\r\nok", on: reactor)
      if let kept = backend.connection(of: "/first") { try meeting(client, kept, reactor) }
      let answer = await client.read(on: reactor)
      return (answer, backend.count(of: "POST /p"))
    }
  }

  @Test("pipelined requests that are refused are refused in order, and the refusals leave together") func pipeline()
    async throws
  {
    let count = 1000
    let seen = try await onOneReactor {
      $0.rateLimitRequests = 1
    } run: { around, reactor -> (answer: String, writes: Int) in
      let faults = SocketFaults(seed: 1)
      reactor.socketFaults = faults
      let requests = (0..<count).map { "GET /\($0) HTTP/1.1\r\nHost: a\r\nX-Request-Id: id-\($0).\r\n\r\n" }
      let answer = await around.client.ask(requests.joined(), until: "id-\(count - 1).", on: reactor)
      return (answer, faults.writes)
    }
    #expect(seen.answer.components("HTTP/1.1 429 ") == count - 1)
    let ids = seen.answer.split(separator: "\r\n").filter { $0.hasPrefix("X-Request-Id: id-") }
    #expect(ids.map(String.init) == (0..<count).map { "X-Request-Id: id-\($0)." })
    #expect(seen.writes < count / 8, "\(seen.writes) writes")
  }

  @Test("a request that comes in the very turn in which its connection was to be closed for being idle is answered")
  func requestAtTheIdleDeadline() async throws {
    let seen = try await second(idle: .seconds(3 as UInt64)) { client, kept, reactor in
      // A connection of a backend answers once.
      kept.close(on: reactor)
      let post = DueAction { client.send(request("POST /p", body: "hello"), on: reactor) }
      post.precede(all: .milliseconds(3010), on: reactor)
    }
    #expect(seen.answer.components("HTTP/1.1 200 OK") == 2, "\(seen.answer)")
    #expect(seen.requests == 1)
  }

  @Test("a POST sent over a connection whose end had come in the meantime is sent again, and done once")
  func endBeforeTheRequest() async throws {
    let seen = try await second { client, kept, reactor in
      // epoll has told of the request but not of the end when the balancer sends.
      try Closing(kept, on: reactor).order()
      client.send(request("POST /p", body: "hello"), on: reactor)
    }
    #expect(seen.answer.components("HTTP/1.1 200 OK") == 2, "\(seen.answer)")
    #expect(seen.requests == 1)
  }

  @Test("the end of an idle connection is seen before a request that came first in the same turn")
  func endBehindTheRequest() async throws {
    let seen = try await second { client, kept, reactor in
      client.send(request("POST /p", body: "hello"), on: reactor)
      kept.close(on: reactor)
    }
    #expect(seen.answer.components("HTTP/1.1 200 OK") == 2, "\(seen.answer)")
    #expect(seen.requests == 1)
  }

  @Test("what a backend says unasked is nobody's answer, also if a request came first in the same turn")
  func wordBehindTheRequest() async throws {
    let seen = try await second { client, kept, reactor in
      client.send(request("POST /p", body: "hello"), on: reactor)
      kept.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong", on: reactor)
    }
    #expect(seen.answer.hasSuffix("ok") && !seen.answer.contains("wrong"), "\(seen.answer)")
    #expect(seen.requests == 1)
  }
}
