import Backends
@testable import Balancer
import Basics
import Exchange
import Glibc
import HTTP
import Reactor
import TestSupport
import Testing

/// Each deadline of the balancer is met, with times short enough to be waited for.
@Suite("Deadlines", .timeLimit(.minutes(5))) struct DeadlineTests {
  private static let short = TimeSpan.milliseconds(120)

  /// What a client gets that sends `pieces` and then waits, and how long it took.
  private func wait(
    _ pieces: [String], times: @escaping @Sendable (inout ExchangeTimes) -> Void,
    backendReads: Bool = true, backend script: @escaping RawBackend.Script = { _, _ in }
  ) async throws -> (answer: String, took: TimeSpan) {
    try await withBalancer(
      .raw { connection, reactor in
        await script(connection, reactor)
        if backendReads { await connection.read(on: reactor) }
      }
    ) {
      times(&$0.times)
    } run: { fixture, reactor in
      let start = reactor.now
      let client = try await fixture.connect(on: reactor)
      for piece in pieces { client.send(piece, on: reactor) }
      return (await client.read(on: reactor), reactor.now.since(start))
    }
  }

  private static let get = request("GET /p", kept: true)

  @Test("a client that sends nothing is let go without a word") func idle() async throws {
    let seen = try await wait([]) { $0.idle = Self.short }
    #expect(seen.answer == "" && seen.took >= Self.short)
  }

  @Test("a head that does not end gets 408") func head() async throws {
    let seen = try await wait(["GET / HTTP/1.1\r\nHo"]) { $0.head = Self.short }
    #expect(seen.answer.hasPrefix("HTTP/1.1 408 ") && seen.took >= Self.short)
  }

  @Test("a body that does not come gets 408") func body() async throws {
    let seen = try await wait([request("POST /p", "Content-Length: 9\r\n", kept: true) + "half"]) {
      $0.body = Self.short
    }
    #expect(seen.answer.hasPrefix("HTTP/1.1 408 ") && seen.took >= Self.short)
  }

  @Test("who sends a lot at once may not be silent for long behind it") func silenceBehindMuch() async throws {
    let body = String(repeating: "x", count: 1_000_000)
    let seen = try await wait([request("POST /p", "Content-Length: 3000000\r\n", kept: true) + body]) {
      $0.body = Self.short
    }
    #expect(seen.answer.hasPrefix("HTTP/1.1 408 ") && seen.took < .seconds(10 as UInt64))
  }

  @Test("a backend that does not answer gets its client 504") func response() async throws {
    let seen = try await wait([Self.get]) { $0.response = Self.short }
    #expect(seen.answer.hasPrefix("HTTP/1.1 504 ") && seen.took >= Self.short)
  }

  @Test("a backend that drips its head, or only says that it is at it, has no longer for it", arguments: ["H", "103"])
  func drippingHeads(what: String) async throws {
    let seen = try await wait([Self.get]) {
      $0.response = .milliseconds(250)
    } backend: { connection, reactor in
      for byte in "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyy" {
        if connection.stream.isClosed { return }
        connection.send(what == "H" ? String(byte) : "HTTP/1.1 103 Early Hints\r\n\r\n", on: reactor)
        // The slowness itself is what is tested.
        await reactor.sleep(for: .milliseconds(20))
      }
    }
    #expect(seen.answer.contains("HTTP/1.1 504 ") && seen.took < .milliseconds(900))
  }

  @Test("a backend that stops within its response is cut off, visibly") func responseWithin() async throws {
    let seen = try await wait([Self.get]) {
      $0.response = Self.short
    } backend: { connection, reactor in
      connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", on: reactor)
    }
    #expect(seen.answer.hasSuffix("\r\n\r\nhalf") && seen.took >= Self.short)
  }

  @Test("a backend that does not take the body gets its client 504") func requestBlocked() async throws {
    let head = request("PUT /p", "Content-Length: 90000000\r\n", kept: true)
    let pieces = [head, String(repeating: "x", count: 20_000_000)]
    let seen = try await wait(pieces, times: { $0.response = Self.short }, backendReads: false)
    #expect(seen.answer.hasPrefix("HTTP/1.1 504 ") && seen.took >= Self.short)
  }

  @Test("a client that takes nothing of its response is cut off") func stall() async throws {
    let stats = try await withBalancer(
      .raw { connection, reactor in
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 90000000\r\n\r\n", on: reactor)
        connection.send(String(repeating: "x", count: 30_000_000), on: reactor)
        await connection.read(on: reactor)
      }
    ) {
      $0.times.stall = Self.short
    } run: { fixture, reactor in
      let client = try await fixture.connect(on: reactor)
      client.send(Self.get, on: reactor)
      // The client reads nothing; that it was cut off is seen by the backend, whose connection ends with it.
      guard await fixture.backend.waits(forFinished: 1, on: reactor) else { return "not cut off" }
      return await fixture.stats(on: reactor)
    }
    #expect(stats.contains("\"requests\":1") && stats.contains("\"in_flight\":0") && stats.contains("\"errors\":0"))
  }

  @Test("a client that only listens after its last answer is closed behind the silence") func linger() async throws {
    let seen = try await wait(["GET / HTTP/1.0\r\nHo st: broken\r\n\r\n"]) { $0.lingerSilence = Self.short }
    #expect(seen.answer.hasPrefix("HTTP/1.1 400 "))
  }

  @Test("a request waits for a backend with room, and gets 503 when none has in time") func queue() async throws {
    let ok = RawBackend.ok.replacing("\r\n\r\n", with: "\r\nConnection: close\r\n\r\n")
    let (first, others) = try await withBalancer(.raw { connection, reactor in await connection.read(on: reactor) }) {
      $0.backendInFlightMax = 1
      $0.times.queue = .seconds(2 as UInt64)
    } run: { fixture, reactor -> (String, [String]) in
      // The first has the backend, and both others wait for it; one of them has it next, and keeps it.
      let first = Task.immediate(executorPreference: reactor.queue) {
        await fixture.ask(request("GET /1"), on: reactor)
      }
      guard await fixture.backend.waits(forAsked: 1, on: reactor) else { return ("not asked", []) }
      let others = ["/2", "/3"].map { path in
        Task.immediate(executorPreference: reactor.queue) { await fixture.ask(request("GET \(path)"), on: reactor) }
      }
      fixture.backend.connection(of: "/1")?.send(ok, on: reactor)
      guard await fixture.backend.waits(forAsked: 2, on: reactor) else { return (await first.value, []) }
      let isSecond = fixture.backend.connection(of: "/2") != nil
      var answers = [await others[isSecond ? 1 : 0].value]
      fixture.backend.connection(of: isSecond ? "/2" : "/3")?.send(ok, on: reactor)
      answers.append(await others[isSecond ? 0 : 1].value)
      return (await first.value, answers)
    }
    #expect(first.hasSuffix("\r\n\r\nok"))
    try #require(others.count == 2)
    #expect(others[0].hasPrefix("HTTP/1.1 503 ") && others[0].contains("Retry-After: 1\r\n"))
    #expect(others[1].hasSuffix("\r\n\r\nok"))
  }

  @Test("a connection that is not made in time is tried no longer than it may") func connect() async throws {
    let answer = try await withBalancer(.server("2")) {
      $0.times.connect = Self.short
    } run: { fixture, reactor in
      // A listener whose queue is full: the kernel drops what comes on top, and the connection is never made.
      let full = try Socket.listen(on: SocketAddress("127.0.0.1:0")!)
      Glibc.listen(full, 0)
      let address = Socket.localAddress(full)
      let fillers = (0..<8).compactMap { _ in try? Socket.beginConnect(to: address) }
      defer { for fd in fillers + [full] { close(fd) } }
      fixture.balancer.replaceBackends(by: [
        .init(name: "full", address: address), .init(name: "b1", address: fixture.addresses[0]),
      ])
      // The one that cannot be connected to was never well, so it is asked only once it is believed in.
      return await fixture.ask(request("GET /who"), on: reactor)
    }
    #expect(answer.hasSuffix("\r\n\r\n2"))
  }
}
