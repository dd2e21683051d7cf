import Backends
@testable import Balancer
import Basics
import Glibc
import HTTP
import Reactor
import Telemetry
import TestSupport
import Testing

@Suite("Failures", .timeLimit(.minutes(5))) struct FailureTests {
  private static let post = request("POST /p", body: "hello")

  /// How a backend ends the connection of a second request.
  private enum Ending: Sendable {
    /// Closes it without having read the request, just behind it: what an idle timeout does at the worst moment.
    case closesUnread
    /// Closes it just before.
    case closesBefore
    /// Reads the request and closes without an answer.
    case closesRead
  }

  /// Two requests on one client connection, the second one on a backend connection that ends.
  private func race(
    _ second: String, _ ending: Ending, at place: BalancerFixture.Place = .tcp, isVouchedFor: Bool = false
  ) async throws -> (client: String, requests: Int) {
    try await withBalancer(
      .raw(at: place) { connection, reactor in
        connection.send(RawBackend.ok, on: reactor)
        let isFirst = connection.received.contains("GET /first")
        // Otherwise the test closes it from outside, at the moment it chooses.
        if isFirst, ending != .closesRead { return }
        await connection.read(until: isFirst ? "hello" : nil, on: reactor)
        connection.close(on: reactor)
      }
    ) {
      $0.backends[0].vouchesForResets = isVouchedFor
    } run: { fixture, reactor in
      let client = try await fixture.connect(on: reactor)
      await client.ask(request("GET /first", kept: true), until: "\r\n\r\nok", on: reactor)
      let kept = fixture.backend.connection(of: "/first")
      // Both in one turn: the balancer may get the request before it can see the end of its kept connection.
      if ending == .closesBefore { kept?.close(on: reactor) }
      client.send(second, on: reactor)
      if ending == .closesUnread { kept?.close(on: reactor) }
      let answer = await client.read(on: reactor)
      return (answer, fixture.backend.count(of: "/p"))
    }
  }

  @Test("a backend that freezes is left out within seconds, its connections standing as they did") func freezes()
    async throws
  {
    let took = try await withBalancer(.server(), .freezing) { fixture, reactor in
      let began = reactor.now
      fixture.backend.isFrozen = true
      let deadline = reactor.now + .seconds(20 as UInt64)
      while await !fixture.stats(on: reactor).contains("\"state\":\"down\""), reactor.now < deadline {
        // Nothing tells of it but what the balancer says of itself.
        await reactor.sleep(for: .milliseconds(20))
      }
      return reactor.now.since(began)
    }
    #expect(took < .seconds(8 as UInt64))
  }

  @Test("a POST that meets a connection which the backend is closing is neither lost nor doubled")
  func keepAliveRace() async throws {
    var honestErrors = 0
    for round in 0..<40 {
      // Where nobody vouches for the backend, only an end that came first proves that it has read nothing.
      let vouched = round % 2 == 0
      let seen = try await race(Self.post, vouched ? .closesUnread : .closesBefore, isVouchedFor: vouched)
      // A busy kernel may deliver the end behind the request, and then it proves nothing: an error, and nothing done.
      if !vouched, seen.requests == 0, seen.client.contains("HTTP/1.1 502 ") {
        honestErrors += 1
        continue
      }
      #expect(seen.client.components("HTTP/1.1 200 OK") == 2, "round \(round): \(seen.client)")
      #expect(seen.requests == 1, "round \(round)")
    }
    // Two of twenty are far more than the one in some hundreds that a loaded machine was seen to make.
    #expect(honestErrors <= 2)
  }

  @Test("a POST that the backend has read is not sent again, a GET is")
  func readAndClosed() async throws {
    let post = try await race(Self.post, .closesRead)
    #expect(post.client.contains("HTTP/1.1 502 "))
    #expect(post.requests == 1)
    let put = try await race(Self.post.replacing("POST", with: "PUT"), .closesRead)
    #expect(put.client.components("HTTP/1.1 200 OK") == 2)
    #expect(put.requests == 2)
  }

  @Test("a refused connection costs nobody an answer while another backend lives")
  func refused() async throws {
    let answers = try await withBalancer(.server("1"), .server("2")) {
      $0.healthInterval = .seconds(60 as UInt64)
    } run: { fixture, reactor in
      await fixture.servers[0].drain(until: reactor.now, on: reactor)
      var answers: [String] = []
      for _ in 0..<8 { answers.append(await fixture.ask(request("POST /count"), on: reactor)) }
      return answers
    }
    #expect(answers.allSatisfy { $0.hasPrefix("HTTP/1.1 200 OK") })
    #expect(answers.compactMap(\.last) == ["1", "2", "3", "4", "5", "6", "7", "8"])
  }

  @Test("without any backend the answer is 503, with a request id and the time to try again")
  func noBackend() async throws {
    let answers = try await withBalancer(.server()) {
      $0.healthInterval = .milliseconds(20)
    } run: { fixture, reactor in
      await fixture.servers[0].drain(until: reactor.now, on: reactor)
      var answers = [await fixture.ask(request("GET /p"), on: reactor)]
      let nowhere = BackendAddress(name: "none", address: SocketAddress("127.0.0.1:1")!)
      let lonely = try BalancerInstance(
        BalancerConfiguration(listen: SocketAddress("127.0.0.1:0")!, backends: [nowhere]),
        log: silentLog, metrics: sharedMetrics)
      answers.append(await exchange(request("GET /p"), lonely.address, on: reactor))
      answers.append(await exchange(request("GET /readyz"), lonely.address, on: reactor))
      lonely.drain(within: .milliseconds(100))
      lonely.join()
      return answers
    }
    #expect(answers[0].hasPrefix("HTTP/1.1 503 "))
    #expect(answers[0].contains("Retry-After: 1\r\n"))
    #expect(answers[0].contains("\"request_id\":\""))
    #expect(answers[1].hasPrefix("HTTP/1.1 503 "))
    #expect(answers[1].contains("Retry-After: 1\r\n"))
    #expect(answers[2].hasPrefix("HTTP/1.1 503 "))
    #expect(answers[2].contains(#"{"status":"not ready","waiting_for":["none"]}"#))
  }

  @Test("a backend that comes back gets traffic again, and one that never was well gets none")
  func comesBack() async throws {
    // At a path: a port could be somebody else's by the time that it is wanted again.
    let names = try await withBalancer(.server("1"), .server("2", at: .unix)) {
      $0.healthInterval = .milliseconds(10)
    } run: { fixture, reactor in
      await fixture.servers[1].drain(until: reactor.now, on: reactor)
      fixture.balancer.replaceBackends(by: [
        .init(name: "b1", address: fixture.addresses[0]), .init(name: "new", address: fixture.addresses[1]),
      ])
      let who = request("GET /who")
      var names: [Character?] = []
      for _ in 0..<6 { names.append(await fixture.ask(who, on: reactor).last) }
      try await fixture.restart(1, within: .milliseconds(0), on: reactor)
      names.append(await fixture.ask(who, on: reactor) { $0.hasSuffix("2") }.last)
      return names
    }
    #expect(names == ["1", "1", "1", "1", "1", "1", "2"])
  }

  @Test("draining lets a request in progress end, and refuses new connections")
  func drain() async throws {
    let log = try await withBalancer(
      .raw { connection, reactor in
        // The balancer drains once it has closed what is idle: only then is this one answered.
        await connection.read(until: "go on", on: reactor)
        connection.send(RawBackend.ok, on: reactor)
      }
    ) { fixture, reactor in
      let idle = try await fixture.connect(on: reactor)
      let busy = try await fixture.connect(on: reactor)
      busy.send(request("POST /p", "Content-Length: 5\r\n", kept: true), on: reactor)
      guard await fixture.backend.waits(forAsked: 1, on: reactor) else { return ["not asked", "", ""] }
      fixture.balancer.drain(within: .seconds(10 as UInt64))
      let nothing = await idle.read(on: reactor)
      let refused = await fixture.ask(request("GET /p"), on: reactor)
      return [nothing, refused, await busy.ask("go on", on: reactor)]
    }
    #expect(log[0] == "")
    #expect(log[1] == "connect: Connection refused")
    #expect(log[2].contains("Connection: close\r\n"))
    #expect(log[2].hasSuffix("\r\n\r\nok"))
  }

  @Test("a first request over a Unix socket may take longer than connecting may")
  func slowFirstAnswer() async throws {
    let answer = try await withBalancer(.server(at: .unix)) { fixture, reactor in
      await fixture.ask(request("GET /longer-than-connecting"), on: reactor)
    }
    #expect(answer.hasSuffix("\r\n\r\nat last"))
  }

  @Test("a Unix socket backend is balanced like any other")
  func unixBackend() async throws {
    let answer = try await withBalancer(.server("unix", at: .unix)) { fixture, reactor in
      await fixture.ask(request("GET /who"), on: reactor)
    }
    #expect(answer.hasSuffix("\r\n\r\nunix"))
    let race = try await race(Self.post, .closesUnread, at: .unix, isVouchedFor: true)
    #expect(race.client.components("HTTP/1.1 200 OK") == 2)
    #expect(race.requests == 1)
  }

  @Test("a client that leaves, or that only stops sending, leaves nothing in flight behind")
  func leavingClients() async throws {
    let (half, stats) = try await withBalancer(
      .raw { connection, reactor in
        if connection.received.contains("/stays") { connection.send(RawBackend.ok, on: reactor) }
        await connection.read(on: reactor)
      }
    ) { fixture, reactor in
      let whole = try await fixture.connect(on: reactor)
      whole.send(request("GET /whole", kept: true), on: reactor)
      guard await fixture.backend.waits(forAsked: 1, on: reactor) else { return ("", "not asked") }
      whole.close(on: reactor)
      let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
      fixture.backend.connection(of: "/whole")?.send(answer, on: reactor)
      guard await fixture.backend.waits(forFinished: 1, on: reactor) else { return ("", "not settled") }

      let part = try await fixture.connect(on: reactor)
      part.send(request("POST /half", "Content-Length: 9\r\n", kept: true) + "half", on: reactor)
      guard await fixture.backend.waits(forAsked: 2, on: reactor) else { return ("", "not asked") }
      part.close(on: reactor)
      // Its backend is let go as well.
      guard await fixture.backend.waits(forFinished: 2, on: reactor) else { return ("", "not let go") }

      let broken = try await fixture.connect(on: reactor)
      broken.send("GET /broken HTTP/1.1\r\nHost", on: reactor)
      broken.close(on: reactor)

      let half = try await fixture.connect(on: reactor)
      half.send(request("GET /stays", kept: true), on: reactor)
      half.stream.shutdownWriting(on: reactor)
      return (await half.read(on: reactor), await fixture.stats(on: reactor))
    }
    #expect(half.hasSuffix("\r\n\r\nok"))
    #expect(stats.contains("\"in_flight\":0"))
    #expect(stats.contains("\"errors\":0"))
  }
}
