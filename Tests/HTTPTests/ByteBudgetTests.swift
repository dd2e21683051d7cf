import Basics
@testable import HTTP
import Reactor
import TestSupport
import Testing

/// What a server holds for its clients is bounded, and the slowest of them pay for it.
@Suite("Byte budget", .timeLimit(.minutes(5))) struct ByteBudgetTests {
  private static let metrics = ByteBudgetMetrics(sharedMetrics)

  /// What `run` gets from a server that may hold `limit` bytes, and how many it holds when all is over.
  private func serving<R: Sendable>(
    _ limit: Int,
    run: @escaping @Sendable (SocketAddress, Fixture, ByteBudget, isolated Reactor) async throws -> R
  ) async throws -> (result: R, left: Int) {
    try await onReactor { reactor in
      let budget = ByteBudget(limit: limit, metrics: ByteBudgetTests.metrics)
      let started = try Fixture.start(budget: budget, on: reactor)
      let result = try await run(started.address, started.fixture, budget, reactor)
      await started.server.drain(until: reactor.now + .seconds(5 as UInt64), on: reactor)
      return (result, budget.used)
    }
  }

  private static func post(_ path: String, _ bytes: Int, of length: Int) -> String {
    "POST \(path) HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: \(length)\r\n\r\n"
      + String(repeating: "x", count: bytes)
  }

  @Test("who is slow with a body makes room for others, and is told so") func slowBody() async throws {
    let seen = try await serving(100_000) { address, _, budget, reactor -> [String] in
      let slow = try await RawClient(address, on: reactor)
      slow.send(Self.post("/count", 80_000, of: 90_000), on: reactor)
      while budget.used < 80_000 { await reactor.sleep(for: .milliseconds(1)) }
      // The slowness itself is what is tested.
      await reactor.sleep(for: .milliseconds(100))
      let fast = await RawClient.exchange(Self.post("/count", 60_000, of: 60_000), address, on: reactor)
      return [await slow.read(on: reactor), fast]
    }
    #expect(seen.result[0].hasPrefix("HTTP/1.1 503 ") && seen.result[0].contains("Retry-After: 1\r\n"))
    #expect(seen.result[1].hasSuffix("\r\n\r\n60000 bytes"))
    #expect(seen.left == 0)
  }

  @Test("what is being worked on is not given up: others are refused, but for small ones") func busy() async throws {
    let seen = try await serving(100_000) { address, fixture, _, reactor -> [String] in
      let held = try await RawClient(address, on: reactor)
      held.send(Self.post("/hold", 90_000, of: 90_000), on: reactor)
      while fixture.gate == nil { await reactor.sleep(for: .milliseconds(1)) }
      let large = await RawClient.exchange(Self.post("/count", 60_000, of: 60_000), address, on: reactor)
      let small = await RawClient.exchange(Self.post("/count", 8_000, of: 8_000), address, on: reactor)
      fixture.gate?.resume()
      return [large, small, await held.read(on: reactor)]
    }
    #expect(seen.result[0].hasPrefix("HTTP/1.1 503 "))
    #expect(seen.result[1].hasSuffix("\r\n\r\n8000 bytes"))
    #expect(seen.result[2].hasSuffix("\r\n\r\nheld"))
    #expect(seen.left == 0)
  }

  @Test("who does not take a large answer makes room for who does", arguments: ["/large", "/stream/large"])
  func slowReader(path: String) async throws {
    let get = "GET \(path) HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    let seen = try await serving(Fixture.largeBytes + 200_000) { address, _, budget, reactor -> [Int] in
      let slow = try await RawClient(address, on: reactor)
      slow.send(get, on: reactor)
      while budget.used == 0 { await reactor.sleep(for: .milliseconds(1)) }
      let fast = await RawClient.exchange(get, address, on: reactor)
      return [fast.utf8.count, await slow.read(on: reactor).utf8.count]
    }
    #expect(seen.result[0] > Fixture.largeBytes)
    #expect(seen.result[1] < Fixture.largeBytes)
    #expect(seen.left == 0)
  }

  @Test(
    "what many are told at once they are told one after the other when memory is short, but for who does not take it")
  func crowd() async throws {
    let get = "GET /stream/large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    let seen = try await serving(Fixture.largeBytes + 200_000) { address, _, budget, reactor -> [Int] in
      let slow = try await RawClient(address, on: reactor)
      slow.send(get, on: reactor)
      while budget.used == 0 { await reactor.sleep(for: .milliseconds(1)) }
      let fast = (0..<8).map { _ in
        Task.immediate(executorPreference: reactor.queue) {
          await RawClient.exchange(get, address, on: reactor).utf8.count
        }
      }
      var counts: [Int] = []
      for one in fast { counts.append(await one.value) }
      return counts + [await slow.read(on: reactor).utf8.count]
    }
    #expect(seen.result.dropLast().allSatisfy { $0 > Fixture.largeBytes }, "\(seen.result)")
    #expect(seen.result[8] < Fixture.largeBytes)
    #expect(seen.left == 0)
  }

  @Test("a body that grows without having been announced is charged for what it may own") func chunked() async throws {
    let seen = try await serving(100_000) { address, _, _, reactor -> [String] in
      let body = "ea60\r\n" + String(repeating: "x", count: 60_000) + "\r\n0\r\n\r\n"
      let head = "POST /count HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
      return [await RawClient.exchange(head + body, address, on: reactor)]
    }
    #expect(seen.result[0].hasPrefix("HTTP/1.1 503 "))
    #expect(seen.left == 0)
  }
}
