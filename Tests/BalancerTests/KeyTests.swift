import Backends
@testable import Balancer
import Basics
import HTTPSyntax
import Reactor
import TestSupport
import Testing
import VersionedStore

/// Servers of keys behind a balancer whose every byte the test decides.
@Suite("Keys through the balancer", .timeLimit(.minutes(5))) struct KeyTests {
  /// The backends from the second on are servers of keys.
  private static func makeKeyServers(_ configuration: inout BalancerConfiguration) {
    for index in configuration.backends.indices.dropFirst() {
      configuration.backends[index].purpose = .keys
      configuration.backends[index].vouchesForResets = false
    }
    configuration.partitions = 4
  }

  /// A key that stands at the backend called `name` while `b2` and `b3` live.
  private static func key(at name: String) -> String {
    let placement = Placement(servers: ["b2", "b3"], partitions: 4)
    let owners = placement.owners { _ in true }
    return (0...).lazy.map { "key-\($0)" }.first {
      owners[Placement.partition(of: StoreKey($0)!, of: 4)] == (name == "b2" ? 0 : 1)
    }!
  }

  /// Answers everything with `name`.
  private static func named(_ name: String) -> BalancerFixture.Backend {
    .raw { connection, reactor in
      connection.send(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: \(name.utf8.count)\r\n\r\n\(name)", on: reactor)
      connection.close(on: reactor)
    }
  }

  /// Reads what it is sent and ends the connection without an answer.
  private static let silent = BalancerFixture.Backend.raw { connection, reactor in
    await connection.read(until: "{}", on: reactor)
    connection.close(on: reactor)
  }

  @Test("each request goes where its key is, all others to the other backends") func routes() async throws {
    try await withBalancer(Self.named("api"), Self.named("two"), Self.named("three")) {
      Self.makeKeyServers(&$0)
    } run: { fixture, reactor in
      for (key, server) in [(Self.key(at: "b2"), "two"), (Self.key(at: "b3"), "three")] {
        for line in ["GET /get/\(key)", "GET /history/\(key)?limit=3", "DELETE /delete/\(key)", "PATCH /get/\(key)"] {
          #expect(await fixture.ask(request(line), on: reactor).hasSuffix("\r\n\r\n\(server)"), "\(line)")
        }
        for line in ["PUT /put/\(key)", "POST /put/\(key)", "POST /batch/\(key)"] {
          #expect(await fixture.ask(request(line, body: "{}"), on: reactor).hasSuffix("\r\n\r\n\(server)"), "\(line)")
        }
      }
      for line in ["GET /servers", "GET /keys", "GET /insights", "GET /db/stats?server=x", "GET /cache/stats?server=x"]
      {
        #expect(!(await fixture.ask(request(line), on: reactor).hasSuffix("api")), "\(line)")
      }
      for line in ["GET /cache/stats", "GET /hash", "POST /partitions/1/leave"] {
        #expect(await fixture.ask(request(line), on: reactor).hasSuffix("\r\n\r\napi"), "\(line)")
      }
      let stats = await fixture.stats(on: reactor)
      #expect(stats.components(#""purpose":"keys""#) == 2 && stats.components(#""purpose":"requests""#) == 1)
      // Who was told of it by configuration stays, or its partitions would be at two places.
      let left = await fixture.ask(request("DELETE /lb/backends/b2"), on: reactor)
      #expect(left.hasPrefix("HTTP/1.1 409 "))
    }
  }

  @Test("a put that a server may have read is not sent again unless it has a name; a question is") func repeats()
    async throws
  {
    for (line, fields, isRepeated) in [
      ("PUT /put/", "", false), ("POST /put/", "", false), ("DELETE /delete/", "", false), ("GET /get/", "", true),
      ("PUT /put/", "Idempotency-Key: n\r\n", true), ("POST /batch/", "Idempotency-Key: n\r\n", true),
      ("DELETE /delete/", "Idempotency-Key: n\r\n", true),
    ] {
      let (answer, counts) = try await withBalancer(Self.named("api"), Self.silent, Self.named("three")) {
        Self.makeKeyServers(&$0)
      } run: { fixture, reactor in
        let key = Self.key(at: "b2")
        let answer = await fixture.ask(request(line + key, fields, body: "{}"), on: reactor)
        return (answer, (0..<3).map { fixture.requests(at: $0, for: line.split(separator: " ")[1] + key) })
      }
      #expect(answer.hasPrefix(isRepeated ? "HTTP/1.1 200 " : "HTTP/1.1 502 "), "\(line) \(fields)")
      #expect(counts == [0, 1, isRepeated ? 1 : 0], "\(line) \(fields)")
    }
  }

  @Test("while no server of keys lives the answer is 503 and never 404, and nobody else waits for that") func nobody()
    async throws
  {
    try await withBalancer(Self.named("api"), .server()) {
      Self.makeKeyServers(&$0)
    } run: { fixture, reactor in
      await fixture.servers[0].drain(until: reactor.now, on: reactor)
      let waiting = try await fixture.connect(on: reactor)
      let began = MonotonicTime.current()
      waiting.send(request("GET /get/a"), on: reactor)
      #expect(await fixture.ask(request("GET /hash"), on: reactor).hasSuffix("\r\n\r\napi"))
      let answer = await waiting.read(on: reactor)
      #expect(answer.hasPrefix("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: 1\r\n"), "\(answer)")
      // It has waited its time, and the other one was answered meanwhile: that one's answer was there first.
      #expect(MonotonicTime.current().since(began) >= .milliseconds(900))
    }
  }

  @Test("another path for the health of backends is none for that of servers of keys") func healthPath() async throws {
    let answer = try await withBalancer(.server(), .server()) {
      Self.makeKeyServers(&$0)
      $0.healthPath = "/who"
    } run: { fixture, reactor in
      await fixture.ask(request("GET /get/a"), on: reactor)
    }
    #expect(answer.hasPrefix("HTTP/1.1 404 "), "\(answer)")
  }

  @Test(
    "what a frozen server was asked is not waited for once its checks fail: others say who has the key",
    arguments: [false, true])
  func frozen(isDrained: Bool) async throws {
    let answers = try await withBalancer(Self.named("api"), .freezing, Self.named("three")) {
      Self.makeKeyServers(&$0)
      ($0.healthInterval, $0.healthTimeout) = (.milliseconds(50), .milliseconds(300))
    } run: { fixture, reactor in
      let key = Self.key(at: "b2")
      fixture.freeze(1)
      let lines = ["GET /get/\(key)", "PUT /put/\(key)"]
      var clients: [RawConnection] = []
      for line in lines {
        clients.append(try await fixture.connect(on: reactor))
        clients[clients.count - 1].send(request(line, body: line.hasPrefix("PUT") ? "{}" : ""), on: reactor)
      }
      if isDrained {
        let order = request("PATCH /lb/backends/b2", body: #"{"state":"drain"}"#)
        #expect(await fixture.ask(order, on: reactor).hasPrefix("HTTP/1.1 200 "))
      }
      var answers: [String] = []
      for client in clients { answers.append(await client.read(on: reactor)) }
      return answers
    }
    #expect(answers[0].hasSuffix("\r\n\r\nthree"), "\(answers)")
    #expect(answers[1].hasPrefix("HTTP/1.1 502 "), "\(answers)")
  }
}
