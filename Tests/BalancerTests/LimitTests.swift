@testable import Balancer
import Basics
import Glibc
import HTTP
import Reactor
import TestSupport
import Testing

@Suite("Bounds", .timeLimit(.minutes(5))) struct LimitTests {
  @Test("thousands of pipelined requests of one client leave room for another, and all are answered")
  func yields() async throws {
    let seen = try await withBalancer(.server()) {
      $0.rateLimitRequests = 1
    } run: { fixture, reactor in
      let flood = try await fixture.connect(on: reactor)
      flood.send(String(repeating: request("GET /who", kept: true), count: 5000), on: reactor)
      let other = await fixture.ask(request("GET /lb/health"), on: reactor)
      await flood.read(until: "HTTP/1.1 ", count: 5000, on: reactor)
      return (flood: flood.received.components("HTTP/1.1 429 "), other: other.hasPrefix("HTTP/1.1 200 "))
    }
    #expect(seen.flood == 4999)
    #expect(seen.other)
  }

  @Test("a probe that asks whether the system is ready is never told that it asks too often") func probes() async throws
  {
    let answers = try await withBalancer(.server()) {
      $0.rateLimitRequests = 1
    } run: { fixture, reactor in
      var answers: [String] = []
      for path in ["/readyz", "/livez"] {
        for _ in 0..<3 { answers.append(String(await fixture.ask(request("GET \(path)"), on: reactor).prefix(12))) }
      }
      return answers
    }
    #expect(answers.allSatisfy { !$0.hasSuffix("429") && $0.hasPrefix("HTTP/1.1 ") })
  }

  @Test("past the bound of connections the one that was idle for longest gives way") func idleGivesWay() async throws {
    let seen = try await withBalancer(.server()) {
      $0.clientsMax = 2
    } run: { fixture, reactor in
      var answers: [String] = []
      var clients: [RawConnection] = []
      for _ in 0..<3 {
        let client = try await fixture.connect(on: reactor)
        answers.append(await client.ask(request("GET /who", kept: true), until: "\r\n\r\n1", on: reactor))
        clients.append(client)
      }
      let end = await clients[0].stream.read(until: reactor.now + .seconds(10 as UInt64), on: reactor)
      let again = await clients[1].ask(request("GET /who", kept: true), until: "\r\n\r\n1", count: 2, on: reactor)
      return (answers: answers, end: end, again: again)
    }
    #expect(seen.answers.allSatisfy { $0.hasPrefix("HTTP/1.1 200 ") })
    #expect(seen.end == .endOfStream)
    #expect(seen.again.components("HTTP/1.1 200 ") == 2)
  }

  @Test("while all are busy, further connections wait, and are served when one is over") func busyDoNot() async throws {
    let seen = try await withBalancer(
      .raw { connection, reactor in await connection.read(on: reactor) }
    ) {
      $0.clientsMax = 2
    } run: { fixture, reactor in
      var clients: [RawConnection] = []
      for number in 1...3 {
        let client = try await fixture.connect(on: reactor)
        client.send(request("GET /\(number)"), on: reactor)
        clients.append(client)
        _ = await fixture.backend.waits(forAsked: min(number, 2), on: reactor)
      }
      let early = await clients[2].stream.read(until: reactor.now + .milliseconds(100), on: reactor)
      clients[0].reset(on: reactor)
      return (early: early, isServed: await fixture.backend.waits(forAsked: 3, on: reactor))
    }
    #expect(seen.early == .deadline && seen.isServed)
  }

  @Test("who waits to be let in is let in as soon as somebody has nothing in progress any more")
  func letIn() async throws {
    let seen = try await onOneReactor {
      $0.clientsMax = 1
    } script: { connection, reactor in
      await connection.read(on: reactor)
    } run: { around, reactor -> (waits: Bool, isAsked: Bool) in
      around.client.send(request("GET /first", kept: true), on: reactor)
      _ = await around.backend.isAsked("/first", on: reactor)
      let other = try await RawConnection.connect(to: around.address, on: reactor)
      other.send(request("GET /second"), on: reactor)
      while !around.proxy.isAwaitingRoom { await reactor.sleep(for: .milliseconds(1)) }
      around.backend.connection(of: "/first")?.send(RawBackend.ok, on: reactor)
      await around.client.read(until: "\r\n\r\nok", on: reactor)
      let waits = around.proxy.isAwaitingRoom
      let isAsked = await around.backend.isAsked("/second", on: reactor)
      other.close(on: reactor)
      return (waits, isAsked)
    }
    #expect(!seen.waits && seen.isAsked, "\(seen)")
  }

  @Test("where requests that last have taken every link, the balancer itself answers, and others get 503")
  func linksTaken() async throws {
    let shares = BalancerLimits.shares(of: 10_000)
    #expect(shares.clients > shares.links && shares.clients + shares.links <= 10_000)
    let seen = try await withBalancer(.raw { connection, reactor in await connection.read(on: reactor) }) {
      $0.clientsMax = 3
      $0.linksMax = 1
    } run: { fixture, reactor in
      let first = try await fixture.connect(on: reactor)
      first.send(request("GET /lasts"), on: reactor)
      _ = await fixture.backend.waits(forAsked: 1, on: reactor)
      let own = await fixture.ask(request("GET /livez"), on: reactor)
      let other = await fixture.ask(request("GET /who"), on: reactor)
      // One that becomes free while somebody waits is his.
      let last = try await fixture.connect(on: reactor)
      last.send(request("GET /last"), on: reactor)
      fixture.backend.connection(of: "/lasts")?.send(RawBackend.ok, on: reactor)
      return (own: own, other: other, isAsked: await fixture.backend.isAsked("/last", on: reactor))
    }
    #expect(seen.own.hasPrefix("HTTP/1.1 200 "), "\(seen.own)")
    #expect(seen.isAsked)
    #expect(seen.other.hasPrefix("HTTP/1.1 503 ") && seen.other.lowercased().contains("retry-after:"), "\(seen.other)")
  }

  @Test("links to backends are bounded, and one that waits for work gives way") func links() async throws {
    let seen = try await withBalancer(.server("1"), .server("2"), .server("3")) {
      $0.linksMax = 1
    } run: { fixture, reactor in
      var answers: [String] = []
      for _ in 0..<6 { answers.append(await fixture.ask(request("GET /who"), on: reactor)) }
      return answers
    }
    #expect(seen.allSatisfy { $0.hasPrefix("HTTP/1.1 200 ") }, "\(seen)")
  }

  @Test("connections to a backend that a crowd has left behind are closed soon, all but one") func surplus()
    async throws
  {
    let seen = try await withBalancer(.raw { connection, reactor in await connection.read(on: reactor) }) {
      fixture, reactor in
      var clients: [RawConnection] = []
      for number in 1...6 {
        clients.append(try await fixture.connect(on: reactor))
        clients.last?.send(request("GET /\(number)", kept: true), on: reactor)
      }
      let allAsked = await fixture.backend.waits(forAsked: 6, on: reactor)
      for number in 1...6 { fixture.backend.connection(of: "/\(number)")?.send(RawBackend.ok, on: reactor) }
      for client in clients { await client.read(until: "\r\n\r\nok", on: reactor) }
      let areClosed = await fixture.backend.waits(forFinished: 5, on: reactor)
      // The last one is kept, by the sweeps after that as well, and brings the next request.
      let isLastClosed = await fixture.backend.waits(forFinished: 6, within: .milliseconds(1500), on: reactor)
      clients[0].send(request("GET /again", kept: true), on: reactor)
      _ = await fixture.backend.isAsked("/again", on: reactor)
      let brought = fixture.backend.connection(of: "/again")?.received.components(" HTTP/1.1")
      return (allAsked: allAsked, areClosed: areClosed, isLastClosed: isLastClosed, brought: brought)
    }
    #expect(seen.allAsked && seen.areClosed && !seen.isLastClosed && seen.brought == 2)
  }

  @Test("a head that comes in single bytes is understood, one past the limit is refused")
  func heads() async throws {
    let seen = try await withBalancer(.server()) { fixture, reactor in
      let slow = try await fixture.connect(on: reactor)
      for byte in request("GET /who") {
        slow.send(String(byte), on: reactor)
        // The slowness itself is what is tested: without it the kernel joins the bytes.
        await reactor.sleep(for: TimeSpan(nanoseconds: 100_000))
      }
      let large = request("GET /who", "X: \(String(repeating: "x", count: 20_000))\r\n")
      return [await slow.read(on: reactor), await fixture.ask(large, on: reactor)]
    }
    #expect(seen[0].hasSuffix("\r\n\r\n1"))
    #expect(seen[1].hasPrefix("HTTP/1.1 431 "))
  }
}
