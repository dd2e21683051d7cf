@testable import Balancer
import Basics
import Glibc
import HTTP
import Reactor
import TestSupport
import Testing

@Suite("Proxy", .timeLimit(.minutes(5))) struct ProxyTests {
  /// What the client and the backend see of `text`, answered with `answer`.
  private func pass(
    _ text: String, answer: String, closes: Bool = false
  ) async throws -> (client: String, backend: [String]) {
    try await withBalancer(
      .raw { connection, reactor in
        if text.contains("chunked") { await connection.read(until: "0\r\n\r\n", on: reactor) }
        if text.contains("Content-Length: 5") { await connection.read(until: "\r\n\r\nhello", on: reactor) }
        connection.send(answer, on: reactor)
        if closes { connection.stream.shutdownWriting(on: reactor) }
        await connection.read(on: reactor)
      }
    ) { fixture, reactor in
      (await fixture.ask(text, on: reactor), fixture.backend.received)
    }
  }

  @Test("a backend sees one canonical request with who sent it, and nothing that concerned the client's connection")
  func canonicalRequest() async throws {
    let seen = try await pass(
      "GET http://shop.example/a?b=c HTTP/1.1\r\nHost: other\r\nConnection: close, x-private\r\nX-Private: 1\r\n"
        + "X-Request-Id: id-1\r\nX-Forwarded-For: 10.0.0.9\r\nX-Forwarded-Proto: https\r\nForwarded: for=1.2.3.4\r\n"
        + "X-Real-IP: 6.6.6.6\r\nTE: trailers\r\nKeep-Alive: 5\r\nAccept:*/*\r\ntraceparent: 00-a-b-01\r\n\r\n",
      answer: RawBackend.ok)
    #expect(
      seen.backend == [
        "GET /a?b=c HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\ntraceparent: 00-a-b-01\r\n"
          + "X-Forwarded-For: 10.0.0.9, unknown, unknown, 127.0.0.1\r\n"
          + "X-Forwarded-Proto: http\r\nX-Forwarded-Host: shop.example\r\nX-Request-Id: id-1\r\n\r\n"
      ])
    #expect(seen.client.hasPrefix("HTTP/1.1 200 OK\r\nDate: "))
    #expect(seen.client.hasSuffix("X-Request-Id: id-1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"))
  }

  @Test("a chunked request body is encoded anew")
  func chunkedRequest() async throws {
    let proxied = try await pass(
      "POST /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        + "005;x=y\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: x\r\n\r\n",
      answer: RawBackend.ok)
    #expect(proxied.backend.count == 1)
    #expect(
      proxied.backend.first?.hasSuffix("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n") == true)
    #expect(proxied.client.hasSuffix("\r\n\r\nok"))
  }

  @Test("a chunked response is encoded anew, for an old client it ends with the connection")
  func chunkedResponse() async throws {
    let answer =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
      + "03;x\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n"
    let new = try await pass(request("GET /p"), answer: answer)
    #expect(new.client.contains("Transfer-Encoding: chunked\r\n"))
    #expect(new.client.hasSuffix("\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"))
    let old = try await pass("GET /p HTTP/1.0\r\n\r\n", answer: answer)
    #expect(!old.client.contains("Transfer-Encoding"))
    #expect(old.client.hasSuffix("Connection: close\r\n\r\nabcde"))
    #expect(old.backend.first?.hasPrefix("GET /p HTTP/1.1\r\nHost: localhost\r\n") == true)
  }

  @Test("a response that ends with its connection reaches the client in chunks")
  func untilClose() async throws {
    let seen = try await pass(
      request("GET /p"), answer: "HTTP/1.1 200 OK\r\n\r\nabc", closes: true)
    #expect(seen.client.hasSuffix("Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
  }

  @Test("HEAD, 204 and 304 have no body whatever their fields say")
  func bodiless() async throws {
    let head = try await pass(
      request("HEAD /p"), answer: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    )
    #expect(head.client.hasSuffix("Content-Length: 9\r\nConnection: close\r\n\r\n"))
    let empty = try await pass(
      request("GET /p"), answer: "HTTP/1.1 204 No Content\r\n\r\n")
    #expect(empty.client.hasSuffix("Connection: close\r\n\r\n"))
    #expect(!empty.client.contains("Content-Length"))
  }

  @Test("interim responses are passed on, 100 is the balancer's own")
  func interim() async throws {
    let seen = try await pass(
      request("POST /p", body: "hello"),
      answer: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + RawBackend.ok)
    #expect(seen.client.hasPrefix("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n"))
    #expect(seen.backend.count == 1)
  }

  @Test(
    "an ambiguous response becomes 502",
    arguments: [
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
      "HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\n",
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "SSH-2.0-x\r\n",
    ])
  func malformedResponse(_ answer: String) async throws {
    let seen = try await pass(request("GET /p"), answer: answer)
    #expect(seen.client.hasPrefix("HTTP/1.1 502 "))
    #expect(seen.client.contains("application/problem+json"))
  }

  @Test("no request that two readers could understand differently reaches a backend")
  func smuggling() async throws {
    let bodies = [
      "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /",
      "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
      "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
      "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
      "POST /p HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "GET /p HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET /p HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n",
      "GET /p HTTP/1.1\nHost: a\n\n", "GET /p HTTP/1.1\r\nHost: a\r\nX: a\u{0}b\r\n\r\n", "GET /p\r\n\r\n",
      "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ]
    let result = try await withBalancer(
      .raw { connection, reactor in
        await connection.read(on: reactor)
        connection.close(on: reactor)
      }
    ) { fixture, reactor in
      var answers: [String] = []
      for body in bodies { answers.append(await fixture.ask(body, on: reactor)) }
      return (answers: answers, backend: fixture.backend.received)
    }
    #expect(result.backend == [])
    for (body, answer) in zip(bodies, result.answers) {
      #expect(answer.hasPrefix("HTTP/1.1 4") || answer.hasPrefix("HTTP/1.1 5"), "\(body)")
      #expect(answer.components("HTTP/1.1 ") == 1, "\(body)")
    }
  }

  @Test("pipelined requests are answered in order, whoever carries them")
  func pipelining() async throws {
    let requests =
      (1...300).map { request("GET /echo/\($0)", kept: true) } + [
        request("POST /body", body: "abc", kept: true), request("GET /lb/health"),
      ]
    let answer = try await withBalancer(.server("1"), .server("2")) { fixture, reactor in
      await fixture.ask(requests.joined(), on: reactor)
    }
    let bodies = answer.split(separator: "\r\n\r\n").dropFirst().map { $0.prefix { $0 != "H" } }
    #expect(bodies.count == 302)
    #expect(bodies.prefix(300).elementsEqual((1...300).map { Substring("echo \($0)") }))
    #expect(bodies[300...].first == "abc")
    #expect(bodies.last?.contains("loadbalancer") == true)
  }

  @Test("large bodies pass both ways, past every buffer, to a client that reads slowly")
  func largeBodies() async throws {
    let size = 4 << 20
    let (status, count, isSame) = try await withBalancer(.server()) { fixture, reactor in
      var random = SeededRandom(seed: 3)
      // Not a multiple of any buffer's size, so that a piece out of place shows.
      let block = (0..<4099).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      var body: [UInt8] = []
      while body.count < size { body += block.prefix(size - body.count) }
      let client = HTTPClient()
      defer { client.closeIdle(on: reactor) }
      let response = try await client.send(
        HTTPClientRequest(.post, "/body", body: body), to: fixture.address,
        until: .current() + .seconds(60 as UInt64), on: reactor)
      return (response.status, response.body.count, response.body == body)
    }
    #expect(status == 200)
    #expect(count == size)
    #expect(isSame, "the bytes differ")
  }
}
