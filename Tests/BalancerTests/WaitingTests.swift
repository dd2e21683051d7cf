@testable import Balancer
import Basics
import Exchange
import HTTP
import Reactor
import TestSupport
import Testing

/// Requests that wait for a backend.
@Suite("Waiting", .timeLimit(.minutes(5))) struct WaitingTests {
  @Test("requests that wait for backends which refuse at once ask them now and then, and not without a pause")
  func asksNowAndThen() async throws {
    let folder = TemporaryFolder()
    defer { withExtendedLifetime(folder) {} }
    let directory = folder.path
    let (answers, stats) = try await onReactor { reactor -> ([String], String) in
      var servers: [HTTPServer] = []
      var addresses: [SocketAddress] = []
      for name in ["1", "2"] {
        let (server, address) = try! OriginServer.start(name, at: "unix:\(directory)/\(name)", on: reactor)
        servers.append(server)
        addresses.append(address)
      }
      let balancer = try! await startBalancer(addresses, on: reactor) { $0.healthInterval = .seconds(60 as UInt64) }
      for server in servers { await server.drain(until: reactor.now, on: reactor) }
      let clients = (0..<3).map { _ in
        Task.immediate(executorPreference: reactor.queue) {
          await exchange("GET /who HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", balancer.address, on: reactor)
        }
      }
      var answers: [String] = []
      for client in clients { answers.append(await client.value) }
      let stats = await exchange(
        "GET /lb/stats HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", balancer.address, on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      return (answers, stats)
    }
    #expect(answers.allSatisfy { $0.hasPrefix("HTTP/1.1 503 ") })
    let errors = stats.matches(of: /"errors":(\d+)/).compactMap { Int($0.1) }
    #expect(errors.count == 2)
    // A second, a look every 20 ms, and each of the three when it came.
    #expect(errors.allSatisfy { (1...100).contains($0) }, "\(errors)")
  }

  @Test("a backend that is ejected is checked at once, however long checks usually pause") func checkedSoon()
    async throws
  {
    let folder = TemporaryFolder()
    defer { withExtendedLifetime(folder) {} }
    let path = "unix:\(folder.path)/1"
    let (before, after) = try await onReactor { reactor -> (String, String) in
      func stats(_ balancer: BalancerInstance) async -> String {
        await exchange(
          "GET /lb/stats HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", balancer.address, on: reactor)
      }
      let (first, address) = try! OriginServer.start("1", at: path, on: reactor)
      let balancer = try! await startBalancer([address], on: reactor) { $0.healthInterval = .seconds(60 as UInt64) }
      await first.drain(until: reactor.now, on: reactor)
      _ = await exchange("GET /who HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", balancer.address, on: reactor)
      let before = await stats(balancer)
      let (again, _) = try! OriginServer.start("1", at: path, on: reactor)
      // The ejection itself lasts five seconds.
      let end = reactor.now + .seconds(3 as UInt64)
      var after = before
      while !after.contains("warming"), !after.contains(#""state":"up""#), reactor.now < end {
        await reactor.sleep(for: .milliseconds(10))
        after = await stats(balancer)
      }
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      await again.drain(until: reactor.now, on: reactor)
      return (before, after)
    }
    // Checked three times within the second for which the request waited.
    #expect(before.contains(#""state":"down""#), "\(before)")
    #expect(after.contains(#""state":"warming""#) || after.contains(#""state":"up""#), "\(after)")
  }

  @Test("a request may be refused by backends as often as it likes while it waits") func refusedForLong() {
    var exchange = Exchange()
    var facts = RequestFacts()
    facts.keepsAlive = true
    _ = exchange.headReceived(facts)
    _ = exchange.limitDecided(isAllowed: true)
    let times = ExchangeTimes()
    for _ in 0..<70_000 {
      #expect(exchange.connectFailed().contains(.choose))
      #expect(exchange.noBackendChosen(queuedFor: nil, hasQueueRoom: true, times) == .enqueue)
      #expect(exchange.turnCame() == .choose)
    }
  }
}
