import Backends
@testable import Balancer
import Basics
import Glibc
import HTTP
import Reactor
import TestSupport
import Testing

@Suite("Storm", .timeLimit(.minutes(5))) struct StormTests {
  /// What stands between the balancer and its backends.
  enum Between: CaseIterable, Sendable {
    case unixSockets
    /// TCP, with an operator who vouches that a reset means unread.
    case vouchedTCP
    case tcp
  }

  @Test(
    "while backends keep closing their connections, each POST gets its own answer and is done once",
    arguments: Between.allCases)
  func closingBackends(between: Between) async throws {
    let place = between == .unixSockets ? BalancerFixture.Place.unix : .tcp
    var times = HTTPServerTimes()
    times.idle = .milliseconds(6)
    let (wrong, repeated, done) = try await withBalancer(
      .server("1", at: place, times: times), .server("2", at: place, times: times)
    ) {
      $0.reactors = 2
      for index in $0.backends.indices { $0.backends[index].vouchesForResets = between != .tcp }
    } run: { fixture, reactor in
      let clients = (0..<12).map { number in
        Task.immediate(executorPreference: reactor.queue) {
          await StormTests.talk(number, fixture.address, on: reactor)
        }
      }
      var wrong: [String] = []
      for client in clients { wrong += await client.value }
      return (wrong, fixture.ledger.repeated, fixture.ledger.done)
    }
    #expect(repeated == 0)
    if between == .tcp {
      // A reset proves nothing here, so what meets one is not sent again: a request that comes between a server's last
      // look and its close. Of 33 runs 4 lost one each; where others take the processor away between the two, runs of
      // all tests have lost six, and fourteen. What may be sent again, `SameTurnTests` hold exactly.
      #expect(wrong.count <= 60 && wrong.allSatisfy { $0.hasPrefix("502 ") }, "\(wrong)")
      #expect(done >= 12 * 100 - wrong.count)
    } else {
      #expect(wrong == [])
      #expect(done == 12 * 100)
    }
  }

  /// Sends 100 requests at odd times on one connection; the answers that were not what they should be.
  private static func talk(_ number: Int, _ address: SocketAddress, on reactor: isolated Reactor) async -> [String] {
    var random = SeededRandom(seed: UInt64(number) + 1)
    let client = HTTPClient()
    var wrong: [String] = []
    for step in 0..<100 {
      let size = Int.random(in: 0...3000, using: &random)
      let token = "t\(number)-\(step)"
      if let answer = await Ledger.post(token, bodyBytes: size, over: client, to: address, on: reactor) {
        wrong.append(answer)
      }
      // About as long as a backend keeps a connection: the odd moments are what is tested.
      await reactor.sleep(for: TimeSpan(nanoseconds: UInt64.random(in: 0...12_000_000, using: &random)))
    }
    client.closeIdle(on: reactor)
    return wrong
  }
}
