@testable import Balancer
import Basics
import Exchange
import Glibc
import HTTP
import Reactor
import TestSupport
import Testing

/// Each deadline of the balancer is met, with times short enough to be waited for.
@Suite("Deadlines", .timeLimit(.minutes(2))) struct DeadlineTests {
  private static let short = TimeSpan.milliseconds(120)

  /// What a client gets that sends `pieces` and then waits, and how long it took.
  private func wait(
    _ pieces: [String], times: @escaping @Sendable (inout ExchangeTimes) -> Void,
    backend script: @escaping @Sendable (RawConnection, isolated Reactor) async -> Void = { _, _ in },
    configure: @escaping @Sendable (inout BalancerConfiguration) -> Void = { _ in }
  ) async throws -> (answer: String, took: TimeSpan) {
    try await onReactor { reactor in
      let backend = RawBackend { (connection, reactor) in
        guard await connection.nextRequest(on: reactor) else { return connection.stream.close(on: reactor) }
        await script(connection, reactor)
        await connection.read(on: reactor)
      }
      let address = try! backend.start(on: reactor)
      let balancer = try! await startBalancer([address], on: reactor) {
        $0.healthInterval = .seconds(60 as UInt64)
        times(&$0.times)
        configure(&$0)
      }
      let start = reactor.now
      let client = try! await RawConnection.connect(to: balancer.address, on: reactor)
      for piece in pieces { client.send(piece, on: reactor) }
      let answer = await client.read(on: reactor)
      let took = reactor.now.since(start)
      client.stream.close(on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      backend.stop(on: reactor)
      return (answer, took)
    }
  }

  private static let get = "GET /p HTTP/1.1\r\nHost: a\r\n\r\n"
  private static let post = "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"

  @Test("a client that sends nothing is let go without a word") func idle() async throws {
    let seen = try await wait([]) { $0.idle = Self.short }
    #expect(seen.answer == "" && seen.took >= Self.short)
  }

  @Test("a head that does not end gets 408") func head() async throws {
    let seen = try await wait(["GET / HTTP/1.1\r\nHo"]) { $0.head = Self.short }
    #expect(seen.answer.hasPrefix("HTTP/1.1 408 ") && seen.took >= Self.short)
  }

  @Test("a body that does not come gets 408") func body() async throws {
    let seen = try await wait([Self.post]) { $0.bodyGrace = Self.short }
    #expect(seen.answer.hasPrefix("HTTP/1.1 408 ") && seen.took >= Self.short)
  }

  @Test("a backend that does not answer gets its client 504") func response() async throws {
    let seen = try await wait([Self.get]) { $0.response = Self.short }
    #expect(seen.answer.hasPrefix("HTTP/1.1 504 ") && seen.took >= Self.short)
  }

  @Test("a backend that drips its head, or only says that it is at it, has no longer for it", arguments: ["H", "103"])
  func drippingHeads(what: String) async throws {
    let seen = try await wait([Self.get]) {
      $0.response = .milliseconds(250)
    } backend: { (connection, reactor) in
      for byte in "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyy" {
        if connection.stream.isClosed { return }
        connection.send(what == "H" ? String(byte) : "HTTP/1.1 103 Early Hints\r\n\r\n", on: reactor)
        await reactor.sleep(for: .milliseconds(20))
      }
    }
    #expect(seen.answer.contains("HTTP/1.1 504 ") && seen.took < .milliseconds(900))
  }

  @Test("a backend that stops within its response is cut off, visibly") func responseWithin() async throws {
    let seen = try await wait([Self.get]) {
      $0.response = Self.short
    } backend: { (connection, reactor) in
      connection.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", on: reactor)
    }
    #expect(seen.answer.hasSuffix("\r\n\r\nhalf") && seen.took >= Self.short)
  }

  @Test("a backend that does not take the body gets its client 504") func requestBlocked() async throws {
    let seen = try await wait([
      "PUT /p HTTP/1.1\r\nHost: a\r\nContent-Length: 90000000\r\n\r\n", String(repeating: "x", count: 20_000_000),
    ]) {
      $0.response = Self.short
    } backend: { (connection, reactor) in
      await reactor.sleep(for: .seconds(3 as UInt64))
    }
    #expect(seen.answer.hasPrefix("HTTP/1.1 504 ") && seen.took >= Self.short)
  }

  @Test("a client that takes nothing of its response is cut off") func stall() async throws {
    let stats = try await onReactor { reactor -> String in
      let backend = RawBackend { (connection, reactor) in
        guard await connection.nextRequest(on: reactor) else { return connection.stream.close(on: reactor) }
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 90000000\r\n\r\n", on: reactor)
        connection.send(String(repeating: "x", count: 30_000_000), on: reactor)
        await connection.read(on: reactor)
      }
      let address = try! backend.start(on: reactor)
      let balancer = try! await startBalancer([address], on: reactor) {
        $0.healthInterval = .seconds(60 as UInt64)
        $0.times.stall = Self.short
      }
      let client = try! await RawConnection.connect(to: balancer.address, on: reactor)
      client.send(Self.get, on: reactor)
      var stats = ""
      // The client reads nothing; the request is over when the balancer says so.
      while !stats.contains("\"requests\":1") || !stats.contains("\"in_flight\":0") {
        stats = await exchange(
          "GET /lb/stats HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", balancer.address, on: reactor)
        await reactor.sleep(for: .milliseconds(10))
      }
      client.stream.close(on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      backend.stop(on: reactor)
      return stats
    }
    #expect(stats.contains("\"errors\":0"))
  }

  @Test("a client that only listens after its last answer is closed behind the silence") func linger() async throws {
    let seen = try await wait(["GET / HTTP/1.0\r\nHo st: broken\r\n\r\n"]) { $0.lingerSilence = Self.short }
    #expect(seen.answer.hasPrefix("HTTP/1.1 400 "))
  }

  @Test("a request waits for a backend with room, and gets 503 when none has in time") func queue() async throws {
    let answers = try await onReactor { reactor -> [String] in
      let (server, address) = try! OriginServer.start("1", on: reactor)
      let balancer = try! await startBalancer([address], on: reactor) {
        $0.backendInFlightMax = 1
        $0.times.queue = .milliseconds(400)
      }
      let one = "GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
      let clients = (0..<6).map { _ in
        Task.immediate(executorPreference: reactor.queue) { await exchange(one, balancer.address, on: reactor) }
      }
      var answers: [String] = []
      for client in clients { answers.append(await client.value) }
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      await server.drain(until: reactor.now, on: reactor)
      return answers
    }
    // A slow answer takes 150 ms: two or three have their turn within 400 ms.
    let served = answers.filter { $0.hasSuffix("\r\n\r\nslow") }.count
    #expect(2...3 ~= served)
    let refused = answers.filter { $0.hasPrefix("HTTP/1.1 503 ") && $0.contains("Retry-After: 1\r\n") }.count
    #expect(served + refused == 6)
  }

  @Test("a connection that is not made in time is tried no longer than it may") func connect() async throws {
    let seen = try await onReactor { reactor -> (String, TimeSpan) in
      // A listener whose queue is full: the kernel drops what comes on top, and the connection is never made.
      let full = try! Socket.listen(on: SocketAddress("127.0.0.1:0")!)
      Glibc.listen(full, 0)
      let address = Socket.localAddress(full)
      let fillers = (0..<8).compactMap { _ in try? Socket.beginConnect(to: address) }
      let (server, second) = try! OriginServer.start("2", on: reactor)
      let balancer = try! await startBalancer([second], on: reactor) { $0.times.connect = Self.short }
      balancer.replaceBackends(by: [.init(name: "full", address: address), .init(name: "b1", address: second)])
      // The one that cannot be connected to was never well, so it is asked only once it is believed in.
      let start = reactor.now
      let answer = await exchange(Self.get.replacing("/p", with: "/who"), balancer.address, on: reactor, closing: true)
      let took = reactor.now.since(start)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      await server.drain(until: reactor.now, on: reactor)
      for fd in fillers { close(fd) }
      close(full)
      return (answer, took)
    }
    #expect(seen.0.hasSuffix("\r\n\r\n2"))
  }
}

/// The same with a request that does not say that it is the last one.
private func exchange(
  _ text: String, _ address: SocketAddress, on reactor: isolated Reactor, closing: Bool
) async -> String {
  await exchange(text.replacing("\r\n\r\n", with: "\r\nConnection: close\r\n\r\n"), address, on: reactor)
}
