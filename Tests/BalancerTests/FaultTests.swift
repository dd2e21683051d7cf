@testable import Balancer
import Basics
import Glibc
import HTTP
import HTTPSyntax
import Reactor
import TestSupport
import Testing

/// `MILLRACE_SEED=17 deploy/test --filter FaultTests` replays one seed.
private let seeds = getenv("MILLRACE_SEED").flatMap { UInt64(String(cString: $0)) }.map { $0..<$0 + 1 } ?? 0..<60

/// The whole balancer, with calls of its sockets that are short, late or fail, by seed.
@Suite("Faults", .timeLimit(.minutes(5))) struct FaultTests {
  @Test("with a kernel that is short, late and failing each answer is its own request's, or an error", arguments: seeds)
  func sockets(seed: UInt64) async throws {
    let (wrong, alive) = try await onReactor { reactor -> ([String], String) in
      let (one, first) = try! OriginServer.start("1", on: reactor)
      let (two, second) = try! OriginServer.start("2", on: reactor)
      let configuration = testConfiguration([first, second]) { $0.healthInterval = .seconds(60 as UInt64) }
      let balancer = try! BalancerInstance(configuration, log: noLog, metrics: sharedMetrics) { proxy in
        proxy.socketFaults = SocketFaults(
          seed: seed, shortPerMille: 150, latePerMille: 150, failedPerMille: seed % 2 == 0 ? 0 : 4)
      }
      var wrong: [String] = []
      let clients = (0..<3).map { number in
        Task.immediate(executorPreference: reactor.queue) {
          await FaultTests.talk(
            seed &* 31 &+ UInt64(number), mayBreak: seed % 2 == 1, balancer.address, on: reactor)
        }
      }
      for client in clients { wrong += await client.value }
      let alive = await exchange(
        "GET /lb/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", balancer.address, on: reactor)
      balancer.drain(within: .milliseconds(500))
      balancer.join()
      for server in [one, two] { await server.drain(until: reactor.now, on: reactor) }
      return (wrong, alive)
    }
    #expect(wrong == [], "seed \(seed)")
    // Of a kernel that fails, an unlucky answer may be nothing at all.
    #expect(seed % 2 == 1 || alive.hasPrefix("HTTP/1.1 200 "), "seed \(seed): \(alive)")
  }

  /// Sends requests of all shapes one after the other; what came back and was neither right nor an honest error.
  private static func talk(
    _ seed: UInt64, mayBreak: Bool, _ address: SocketAddress, on reactor: isolated Reactor
  ) async -> [String] {
    var random = SeededRandom(seed: seed)
    let client = HTTPClient()
    var wrong: [String] = []
    for step in 0..<12 {
      let body = [UInt8](repeating: UInt8(0x61 + step), count: Int(random.next() % 3000))
      let isPost = random.next() % 2 == 0
      let request =
        isPost
        ? HTTPClientRequest(.post, "/body", body: body) : HTTPClientRequest(.get, "/echo/\(seed)-\(step)")
      let expected = isPost ? body : Array("echo \(seed)-\(step)".utf8)
      do throws(HTTPClientError) {
        let answer = try await client.send(
          request, to: address, until: reactor.now + .seconds(10 as UInt64), on: reactor)
        let isRight = answer.status == 200 ? answer.body == expected : answer.status >= 500
        if !isRight {
          wrong.append("\(step): \(answer.status) \(String(decoding: answer.body.prefix(60), as: UTF8.self))")
        }
      } catch {
        // A connection that broke is an honest end; one that nobody ends is not.
        if error == .deadline || !mayBreak { wrong.append("\(step): \(error)") }
      }
    }
    client.closeIdle(on: reactor)
    return wrong
  }
}
