@testable import Balancer
import Basics
import HTTP
import Reactor
import TestSupport
import Testing

/// What becomes of fields and expectations on their way.
@Suite("Forwarding", .timeLimit(.minutes(5))) struct ForwardingTests {
  /// Lets a client and a backend talk through a balancer; what each has seen at the end.
  private func talk(
    configure: @escaping @Sendable (inout BalancerConfiguration) -> Void = { _ in },
    backend script: @escaping RawBackend.Script, client: @escaping RawBackend.Script
  ) async throws -> (client: String, backend: String) {
    try await withBalancer(.raw(script), configure: configure) { fixture, reactor in
      let connection = try await fixture.connect(on: reactor)
      await client(connection, reactor)
      return (await connection.read(on: reactor), fixture.backend.received.joined(separator: "|"))
    }
  }

  private static let expecting = request("POST /p", "Expect: 100-continue\r\nContent-Length: 5\r\n")

  @Test("the backend is asked before a client is invited, and its invitation is the one that arrives")
  func invitation() async throws {
    let seen = try await talk { connection, reactor in
      connection.send("HTTP/1.1 100 Continue\r\n\r\n", on: reactor)
      await connection.read(until: "hello", on: reactor)
      connection.send(RawBackend.ok, on: reactor)
    } client: { connection, reactor in
      connection.send(Self.expecting, on: reactor)
      await connection.read(until: "100 Continue\r\n", on: reactor)
      connection.send("hello", on: reactor)
    }
    #expect(seen.backend.contains("Expect: 100-continue\r\n") && seen.backend.hasSuffix("\r\n\r\nhello"))
    #expect(seen.client.hasPrefix("HTTP/1.1 100 Continue\r\n") && seen.client.hasSuffix("ok"))
  }

  @Test("a backend's refusal stands in the place of an invitation") func refusal() async throws {
    let seen = try await talk { connection, reactor in
      connection.send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n", on: reactor)
      await connection.read(on: reactor)
    } client: { connection, reactor in
      connection.send(Self.expecting, on: reactor)
    }
    #expect(seen.client.hasPrefix("HTTP/1.1 417 ") && seen.client.contains("Connection: close"))
    #expect(!seen.backend.contains("hello"))
  }

  @Test("a malformed first chunk becomes 502 instead of an empty end") func malformedChunk() async throws {
    let seen = try await talk { connection, reactor in
      connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", on: reactor)
    } client: { connection, reactor in
      connection.send(request("GET /p"), on: reactor)
    }
    #expect(seen.client.hasPrefix("HTTP/1.1 502 "))
  }

  @Test("names that only look like forwarding or framing fields are dropped, Via is added where it was asked for")
  func imitationsAndVia() async throws {
    let seen = try await talk {
      $0.viaName = "mill"
    } backend: { connection, reactor in
      connection.send(RawBackend.ok, on: reactor)
    } client: { connection, reactor in
      let fields = "X_Forwarded_For: 1.2.3.4\r\nTransfer_Encoding: chunked\r\nX_Own: kept\r\n"
      connection.send(request("GET /p", fields, host: "a=b"), on: reactor)
    }
    #expect(!seen.backend.contains("1.2.3.4") && !seen.backend.contains("Transfer_Encoding"))
    #expect(seen.backend.contains("X_Own: kept\r\n") && seen.backend.contains("Via: 1.1 mill\r\n"))
    #expect(seen.backend.contains("Host: a=b\r\n"))
  }

  @Test("Max-Forwards counts down, and at 0 the balancer is the last recipient", arguments: ["OPTIONS", "TRACE"])
  func maxForwards(method: String) async throws {
    let seen = try await talk { connection, reactor in
      connection.send(RawBackend.ok, on: reactor)
    } client: { connection, reactor in
      await connection.ask(
        request("\(method) /p", "Cookie: secret\r\nMax-Forwards: 0\r\n", kept: true),
        until: method == "TRACE" ? "Max-Forwards: 0\r\n\r\n" : "\r\n\r\n", on: reactor)
      connection.send(request("\(method) /q", "Max-Forwards: 3\r\n"), on: reactor)
    }
    #expect(seen.backend.hasPrefix("\(method) /q ") && seen.backend.contains("Max-Forwards: 2\r\n"))
    let first = seen.client.components("HTTP/1.1 200 OK") == 2 && seen.client.contains("Content-Type: message/http")
    #expect(method == "TRACE" ? first : seen.client.hasPrefix("HTTP/1.1 204 ") && seen.client.contains("Allow: "))
    #expect(!seen.client.contains("secret"))
  }

  /// Sends `text` to a balancer in front of one real server, waits for the end, and says how long that took.
  private func send(
    _ text: String, halfClose: Bool = false,
    configure: @escaping @Sendable (inout BalancerConfiguration) -> Void = { _ in }
  ) async throws -> (answer: String, took: TimeSpan) {
    try await withBalancer(.server(), configure: configure) { fixture, reactor in
      let client = try await fixture.connect(on: reactor)
      let start = reactor.now
      client.send(text, on: reactor)
      if halfClose { client.stream.shutdownWriting(on: reactor) }
      return (await client.read(on: reactor), reactor.now.since(start))
    }
  }

  @Test("an end behind a pipelined request's half body is seen at once") func endBehindHalfABody() async throws {
    let whole = request("GET /slow", kept: true)
    let half = request("POST /body", "Content-Length: 9\r\n", kept: true) + "half"
    let seen = try await send(whole + half, halfClose: true)
    #expect(seen.answer.components("HTTP/1.1 200 OK") == 1)
    #expect(seen.took < .seconds(5 as UInt64))
  }

  @Test("a client that pipelines and ends its side gets all its answers, and then the end")
  func halfClosedPipeline() async throws {
    let one = request("GET /who", kept: true)
    let local = request("GET /lb/health", kept: true)
    for requests in [one + one, one + local, local + local + one] {
      let seen = try await send(requests, halfClose: true)
      #expect(seen.answer.components("HTTP/1.1 200 OK") == requests.components("GET "))
      #expect(seen.took < .seconds(5 as UInt64))
    }
  }

  @Test("the balancer invites the body of a request to itself") func localInvitation() async throws {
    let body = #"{"strategy":"weighted"}"#
    let head = request("POST /lb/strategy", "Expect: 100-continue\r\nContent-Length: \(body.utf8.count)\r\n")
    let answer = try await withBalancer(.server()) { fixture, reactor in
      let client = try await fixture.connect(on: reactor)
      await client.ask(head, until: "100 Continue\r\n\r\n", on: reactor)
      return await client.ask(body, on: reactor)
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
