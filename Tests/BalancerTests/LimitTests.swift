@testable import Balancer
import Basics
import Glibc
import HTTP
import Reactor
import TestSupport
import Testing

@Suite("Bounds", .timeLimit(.minutes(2))) struct LimitTests {
  @Test("thousands of pipelined requests of one client leave room for another, and all are answered")
  func yields() async throws {
    let seen = try await onReactor { reactor -> (flood: Int, other: Bool) in
      let (server, address) = try! OriginServer.start("1", on: reactor)
      let balancer = try! await startBalancer([address], on: reactor) { $0.rateLimitRequests = 1 }
      let flood = try! await RawConnection.connect(to: balancer.address, on: reactor)
      let one = "GET /who HTTP/1.1\r\nHost: a\r\n\r\n"
      flood.send(String(repeating: one, count: 5000), on: reactor)
      let other = await exchange(
        "GET /lb/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", balancer.address, on: reactor)
      await flood.read(until: "HTTP/1.1 ", count: 5000, on: reactor)
      flood.stream.close(on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      await server.drain(until: reactor.now, on: reactor)
      return (flood.received.components("HTTP/1.1 429 "), other.hasPrefix("HTTP/1.1 200 "))
    }
    #expect(seen.flood == 4999)
    #expect(seen.other)
  }

  @Test("connections past the bound are told so and closed, and the others are served")
  func clientsMax() async throws {
    let seen = try await onReactor { reactor -> [String] in
      let (server, address) = try! OriginServer.start("1", on: reactor)
      let balancer = try! await startBalancer([address], on: reactor) { $0.clientsMax = 2 }
      let request = "GET /who HTTP/1.1\r\nHost: a\r\n\r\n"
      var clients: [RawConnection] = []
      var answers: [String] = []
      for _ in 0..<3 {
        let client = try! await RawConnection.connect(to: balancer.address, on: reactor)
        client.send(request, on: reactor)
        answers.append(String(await client.read(until: "\r\n\r\n1", on: reactor).prefix(12)))
        clients.append(client)
      }
      for client in clients { client.stream.close(on: reactor) }
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      await server.drain(until: reactor.now, on: reactor)
      return answers
    }
    #expect(seen == ["HTTP/1.1 200", "HTTP/1.1 200", "HTTP/1.1 503"])
  }

  @Test("a head that comes in single bytes is understood, one past the limit is refused")
  func heads() async throws {
    let seen = try await onReactor { reactor -> [String] in
      let (server, address) = try! OriginServer.start("1", on: reactor)
      let balancer = try! await startBalancer([address], on: reactor)
      let slow = try! await RawConnection.connect(to: balancer.address, on: reactor)
      for byte in "GET /who HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" {
        slow.send(String(byte), on: reactor)
        await reactor.sleep(for: TimeSpan(nanoseconds: 100_000))
      }
      let answer = await slow.read(on: reactor)
      slow.stream.close(on: reactor)
      let large = await exchange(
        "GET /who HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "x", count: 20_000))\r\n\r\n", balancer.address,
        on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      await server.drain(until: reactor.now, on: reactor)
      return [answer, large]
    }
    #expect(seen[0].hasSuffix("\r\n\r\n1"))
    #expect(seen[1].hasPrefix("HTTP/1.1 431 "))
  }
}
