@testable import Balancer
import Basics
import Reactor
import TestSupport
import Testing

/// Connections that end, or say too much, at the worst moment.
@Suite("Aborts", .timeLimit(.minutes(5))) struct AbortTests {
  @Test("clients that ask for an invitation and reset the connection behind it end nothing but themselves")
  func resetBehindExpect() async throws {
    let (answer, stats) = try await withBalancer(.server()) { fixture, reactor in
      let bystander = try await fixture.connect(on: reactor)
      for path in ["/body", "/lb/strategy"] {
        for _ in 0..<200 {
          let client = try await fixture.connect(on: reactor)
          client.send(
            request("POST \(path)", "Expect: 100-continue\r\nContent-Length: 5\r\n", kept: true), on: reactor)
          client.reset(on: reactor)
        }
      }
      let answer = await bystander.ask(request("GET /who", kept: true), until: "\r\n\r\n1", on: reactor)
      // Some of them never reach the backend, and others wait for it: only the balancer knows when all are settled.
      let stats = await fixture.ask(request("GET /lb/stats"), on: reactor) { $0.contains("\"in_flight\":0") }
      return (answer, stats)
    }
    #expect(answer.hasSuffix("\r\n\r\n1"))
    #expect(stats.contains("\"in_flight\":0"))
  }

  /// A backend of our own that has something to say only when it learns that nobody waits for long.
  private static let patient = BalancerFixture.Backend.raw(at: .unix) { connection, reactor in
    await connection.read(on: reactor)
    connection.send(RawBackend.ok, on: reactor)
  }

  @Test("a client's end is passed on to a backend of our own, and the answer comes back to who still reads")
  func clientEnds() async throws {
    let answers = try await withBalancer(Self.patient) { fixture, reactor in
      var answers: [String] = []
      for _ in 0..<2 {
        let client = try await fixture.connect(on: reactor)
        client.send(request("GET /wait", kept: true), on: reactor)
        _ = await fixture.backend.waits(forAsked: answers.count + 1, on: reactor)
        client.stream.shutdownWriting(on: reactor)
        answers.append(await client.read(on: reactor))
      }
      return answers
    }
    #expect(answers.allSatisfy { $0.hasPrefix("HTTP/1.1 200 ") && $0.hasSuffix("ok") })
  }

  @Test("a balancer that stops does not wait for long waits, and their clients are answered") func drain() async throws
  {
    let (answer, took) = try await withBalancer(Self.patient) { fixture, reactor in
      let client = try await fixture.connect(on: reactor)
      client.send(request("GET /wait", kept: true), on: reactor)
      _ = await fixture.backend.waits(forAsked: 1, on: reactor)
      let began = reactor.now
      fixture.balancer.drain(within: .seconds(15 as UInt64))
      return (await client.read(on: reactor), reactor.now.since(began))
    }
    #expect(answer.hasPrefix("HTTP/1.1 200 ") && answer.hasSuffix("ok"))
    #expect(took < .seconds(3 as UInt64))
  }

  @Test("a POST that a backend reads and then aborts is not sent again", arguments: [BalancerFixture.Place.tcp, .unix])
  func readAndAborted(place: BalancerFixture.Place) async throws {
    let (answer, requests) = try await withBalancer(
      .raw(at: place) { connection, reactor in
        await connection.read(until: "hello", on: reactor)
        connection.reset(on: reactor)
      }
    ) { fixture, reactor in
      let answer = await fixture.ask(request("POST /p", body: "hello"), on: reactor)
      return (answer, fixture.backend.received.count)
    }
    #expect(answer.hasPrefix("HTTP/1.1 502 "))
    #expect(requests == 1)
  }

  @Test("uploads on a connection that has grown fast reach a backend that is only being connected to")
  func uploadsToFreshBackends() async throws {
    let size = 700_000
    let answers = try await withBalancer(
      .raw { connection, reactor in
        let head = connection.received.firstRange(of: "\r\n\r\n")!.upperBound
        await connection.discard(size - connection.received[head...].utf8.count, on: reactor)
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", on: reactor)
        connection.stream.shutdownWriting(on: reactor)
      }
    ) { fixture, reactor in
      let client = try await fixture.connect(on: reactor)
      let upload = request("PUT /p", body: String(repeating: "x", count: size), kept: true)
      for number in 1...12 {
        client.send(upload, on: reactor)
        await client.read(until: "HTTP/1.1 ", count: number, on: reactor)
      }
      return client.received
    }
    #expect(answers.components("HTTP/1.1 200 OK") == 12)
  }

  @Test("what a backend says behind its response is nobody's response")
  func surplus() async throws {
    let answer = try await withBalancer(
      .raw { connection, reactor in
        guard connection.received.contains("GET /first") else { return connection.send(RawBackend.ok, on: reactor) }
        // Head and body fill one read of the balancer exactly; the surplus stays in the kernel.
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 65494\r\n\r\n"
        let surplus = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"
        connection.send(head + String(repeating: "x", count: 65494) + surplus, on: reactor)
        await connection.read(on: reactor)
      }
    ) { fixture, reactor in
      let first = try await fixture.connect(on: reactor)
      first.send(request("GET /first", kept: true), on: reactor)
      await first.read(until: "xxxxxxxxxxxx", count: 5457, on: reactor)
      return await fixture.ask(request("GET /second"), on: reactor)
    }
    #expect(answer.hasSuffix("\r\n\r\nok"))
  }
}
