@testable import Balancer
import Basics
import HTTP
import Reactor
import TestSupport
import Testing

/// What becomes of fields and expectations on their way.
@Suite("Forwarding", .timeLimit(.minutes(2))) struct ForwardingTests {
  private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

  /// Lets a client and a backend talk through a balancer; what each has seen at the end.
  private func talk(
    _ change: @escaping @Sendable (inout BalancerConfiguration) -> Void = { _ in },
    backend script: @escaping @Sendable (RawConnection, isolated Reactor) async -> Void,
    client: @escaping @Sendable (RawConnection, isolated Reactor) async -> Void
  ) async throws -> (client: String, backend: String) {
    try await onReactor { reactor in
      let backend = RawBackend { (connection, reactor) in
        guard await connection.nextRequest(on: reactor) else { return connection.stream.close(on: reactor) }
        await script(connection, reactor)
      }
      let address = try! backend.start(on: reactor)
      let balancer = try! await startBalancer([address], on: reactor, change)
      let connection = try! await RawConnection.connect(to: balancer.address, on: reactor)
      await client(connection, reactor)
      let seen = await connection.read(on: reactor)
      connection.stream.close(on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      backend.stop(on: reactor)
      return (seen, backend.received.joined(separator: "|"))
    }
  }

  private static let expecting =
    "POST /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"

  @Test("the backend is asked before a client is invited, and its invitation is the one that arrives")
  func invitation() async throws {
    let seen = try await talk { (connection, reactor) in
      connection.send("HTTP/1.1 100 Continue\r\n\r\n", on: reactor)
      await connection.read(until: "hello", on: reactor)
      connection.send(Self.ok, on: reactor)
    } client: { (connection, reactor) in
      connection.send(Self.expecting, on: reactor)
      await connection.read(until: "100 Continue\r\n", on: reactor)
      connection.send("hello", on: reactor)
    }
    #expect(seen.backend.contains("Expect: 100-continue\r\n") && seen.backend.hasSuffix("\r\n\r\nhello"))
    #expect(seen.client.hasPrefix("HTTP/1.1 100 Continue\r\n") && seen.client.hasSuffix("ok"))
  }

  @Test("a backend's refusal stands in the place of an invitation") func refusal() async throws {
    let seen = try await talk { (connection, reactor) in
      connection.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n", on: reactor)
      await connection.read(on: reactor)
    } client: { (connection, reactor) in
      connection.send(Self.expecting, on: reactor)
    }
    #expect(seen.client.hasPrefix("HTTP/1.1 417 ") && seen.client.contains("Connection: close"))
    #expect(!seen.backend.contains("hello"))
  }

  @Test("a malformed first chunk becomes 502 instead of an empty end") func malformedChunk() async throws {
    let seen = try await talk { (connection, reactor) in
      connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", on: reactor)
    } client: { (connection, reactor) in
      connection.send("GET /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", on: reactor)
    }
    #expect(seen.client.hasPrefix("HTTP/1.1 502 "))
  }

  @Test("names that only look like forwarding or framing fields are dropped, Via is added where it was asked for")
  func imitationsAndVia() async throws {
    let seen = try await talk {
      $0.viaName = "mill"
    } backend: { (connection, reactor) in
      connection.send(Self.ok, on: reactor)
    } client: { (connection, reactor) in
      connection.send(
        "GET /p HTTP/1.1\r\nHost: a=b\r\nConnection: close\r\nX_Forwarded_For: 1.2.3.4\r\n"
          + "Transfer_Encoding: chunked\r\n"
          + "X_Own: kept\r\n\r\n", on: reactor)
    }
    #expect(!seen.backend.contains("1.2.3.4") && !seen.backend.contains("Transfer_Encoding"))
    #expect(seen.backend.contains("X_Own: kept\r\n") && seen.backend.contains("Via: 1.1 mill\r\n"))
    #expect(seen.backend.contains("Host: a=b\r\n"))
  }

  @Test("Max-Forwards counts down, and at 0 the balancer is the last recipient", arguments: ["OPTIONS", "TRACE"])
  func maxForwards(method: String) async throws {
    let seen = try await talk { (connection, reactor) in
      connection.send(Self.ok, on: reactor)
    } client: { (connection, reactor) in
      connection.send("\(method) /p HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nCookie: secret\r\n\r\n", on: reactor)
      await connection.read(until: method == "TRACE" ? "Max-Forwards: 0\r\n\r\n" : "\r\n\r\n", on: reactor)
      connection.send(
        "\(method) /q HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\nConnection: close\r\n\r\n", on: reactor)
    }
    #expect(seen.backend.hasPrefix("\(method) /q ") && seen.backend.contains("Max-Forwards: 2\r\n"))
    let first = seen.client.components("HTTP/1.1 200 OK") == 2 && seen.client.contains("Content-Type: message/http")
    #expect(method == "TRACE" ? first : seen.client.hasPrefix("HTTP/1.1 204 ") && seen.client.contains("Allow: "))
    #expect(!seen.client.contains("secret"))
  }

  @Test("an end behind a pipelined request's half body is seen at once") func endBehindHalfABody() async throws {
    let stats = try await onReactor { reactor -> (waited: TimeSpan, stats: String) in
      let (server, address) = try! OriginServer.start("1", on: reactor)
      let balancer = try! await startBalancer([address], on: reactor)
      let client = try! await RawConnection.connect(to: balancer.address, on: reactor)
      client.send(
        "GET /slow HTTP/1.1\r\nHost: a\r\n\r\nPOST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf",
        on: reactor)
      client.stream.shutdownWriting(on: reactor)
      let start = reactor.now
      let answer = await client.read(on: reactor)
      let waited = reactor.now.since(start)
      client.stream.close(on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      await server.drain(until: reactor.now, on: reactor)
      return (waited, answer)
    }
    #expect(stats.stats.components("HTTP/1.1 200 OK") == 1)
    #expect(stats.waited < .seconds(5 as UInt64))
  }

  /// Sends `text` to a balancer in front of one real server, waits for the end, and says how long that took.
  private func send(
    _ text: String, halfClose: Bool = false,
    _ change: @escaping @Sendable (inout BalancerConfiguration) -> Void = { _ in }
  ) async throws -> (answer: String, took: TimeSpan) {
    try await onReactor { reactor in
      let (server, address) = try! OriginServer.start("1", on: reactor)
      let balancer = try! await startBalancer([address], on: reactor, change)
      let client = try! await RawConnection.connect(to: balancer.address, on: reactor)
      let start = reactor.now
      client.send(text, on: reactor)
      if halfClose { client.stream.shutdownWriting(on: reactor) }
      let answer = await client.read(on: reactor)
      let took = reactor.now.since(start)
      client.stream.close(on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      await server.drain(until: reactor.now, on: reactor)
      return (answer, took)
    }
  }

  @Test("a client that pipelines and ends its side gets all its answers, and then the end")
  func halfClosedPipeline() async throws {
    let one = "GET /who HTTP/1.1\r\nHost: a\r\n\r\n"
    let local = "GET /lb/health HTTP/1.1\r\nHost: a\r\n\r\n"
    for requests in [one + one, one + local, local + local + one] {
      let seen = try await send(requests, halfClose: true)
      #expect(seen.answer.components("HTTP/1.1 200 OK") == requests.components("GET "))
      #expect(seen.took < .seconds(5 as UInt64))
    }
  }

  @Test("the balancer invites the body of a request to itself") func localInvitation() async throws {
    let answer = try await onReactor { reactor -> String in
      let (server, address) = try! OriginServer.start("1", on: reactor)
      let balancer = try! await startBalancer([address], on: reactor)
      let client = try! await RawConnection.connect(to: balancer.address, on: reactor)
      let body = #"{"strategy":"weighted"}"#
      client.send(
        "POST /lb/strategy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\n"
          + "Content-Length: \(body.utf8.count)\r\n\r\n", on: reactor)
      await client.read(until: "100 Continue\r\n\r\n", on: reactor)
      client.send(body, on: reactor)
      let answer = await client.read(on: reactor)
      client.stream.close(on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      await server.drain(until: reactor.now, on: reactor)
      return answer
    }
    #expect(answer.contains("HTTP/1.1 200 OK") && answer.contains(#""new_strategy":"weighted""#))
  }

  @Test("the answer to a head that never ends does not go by the request before it") func slowHeadBehindARequest()
    async throws
  {
    let seen = try await send("HEAD /who HTTP/1.1\r\nHost: a\r\nX-Request-Id: first\r\n\r\nGET / HTTP/1.1\r\nHo") {
      $0.times.head = .milliseconds(100)
    }
    #expect(seen.answer.components("X-Request-Id: first") == 1)
    #expect(seen.answer.contains("HTTP/1.1 408 ") && seen.answer.hasSuffix("}"))
  }

  @Test("a malformed body counts with the limiter like any other request") func malformedBodiesAreCounted() async throws
  {
    let broken = "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    let seen = try await send(broken) { $0.rateLimitRequests = 10 }
    #expect(seen.answer.hasPrefix("HTTP/1.1 400 ") && seen.answer.contains("RateLimit: "))
  }
}
