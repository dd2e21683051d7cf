@testable import Balancer
import Basics
import Glibc
import HTTP
import HTTPSyntax
import Reactor
import TestSupport
import Testing

/// Requests that are neither lost nor done twice, whatever their connection does.
@Suite("Delivery", .timeLimit(.minutes(2))) struct DeliveryTests {
  private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

  @Test(
    "a POST that a backend reads, whole or its head only, and then resets on a kept connection is delivered once",
    arguments: [true, false])
  func resetAfterReading(readsBody: Bool) async throws {
    let (answer, requests) = try await onReactor { reactor -> (String, Int) in
      let backend = RawBackend { (connection, reactor) in
        guard await connection.nextRequest(on: reactor) else { return connection.stream.close(on: reactor) }
        connection.send(Self.ok, on: reactor)
        await connection.read(until: readsBody ? "hello" : "POST ", on: reactor)
        var option = linger(l_onoff: 1, l_linger: 0)
        setsockopt(connection.stream.fd, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        connection.stream.close(on: reactor)
      }
      let address = try! backend.start(on: reactor)
      let balancer = try! await startBalancer([address], on: reactor) { $0.healthInterval = .seconds(60 as UInt64) }
      let client = try! await RawConnection.connect(to: balancer.address, on: reactor)
      client.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n", on: reactor)
      await client.read(until: "\r\n\r\nok", on: reactor)
      client.send("POST /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", on: reactor)
      let answer = await client.read(on: reactor)
      client.stream.close(on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      backend.stop(on: reactor)
      return (answer, backend.received.reduce(0) { $0 + $1.components("POST /p") })
    }
    #expect(answer.contains("HTTP/1.1 502 "))
    #expect(requests == 1)
  }

  @Test(
    "a Unix backend that reads a part and resets gets a POST once, and a few times if it is vouched for",
    arguments: [false, true])
  func resetOnUnixSockets(isVouchedFor: Bool) async throws {
    let folder = TemporaryFolder()
    defer { withExtendedLifetime(folder) {} }
    let directory = folder.path
    let (answer, requests) = try await onReactor { reactor -> (String, Int) in
      let backend = RawBackend { (connection, reactor) in
        guard await connection.nextRequest(on: reactor) else { return connection.stream.close(on: reactor) }
        connection.stream.close(on: reactor)
      }
      let address = try! backend.start("unix:\(directory)/s", on: reactor)
      let balancer = try! await startBalancer([address], on: reactor) {
        $0.healthInterval = .seconds(60 as UInt64)
        $0.backends[0].vouchesForResets = isVouchedFor
      }
      let client = try! await RawConnection.connect(to: balancer.address, on: reactor)
      // More than one read of the backend's takes, so that the kernel resets.
      let body = String(repeating: "x", count: 15_900)
      client.send("POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 15900\r\n\r\n" + body, on: reactor)
      let answer = await client.read(until: "\r\n\r\n", on: reactor)
      client.stream.close(on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      backend.stop(on: reactor)
      return (answer, backend.received.count)
    }
    #expect(answer.hasPrefix("HTTP/1.1 502 ") || isVouchedFor && answer.hasPrefix("HTTP/1.1 503 "))
    #expect(isVouchedFor ? requests <= 4 : requests == 1)
  }

  @Test("what a backend says unasked on a kept connection is nobody's answer, also if a request comes in the same turn")
  func unsolicited() async throws {
    for _ in 0..<20 {
      let answer = try await onReactor { reactor -> String in
        let backend = RawBackend { (connection, reactor) in
          guard await connection.nextRequest(on: reactor) else { return connection.stream.close(on: reactor) }
          let isFirst = connection.received.contains("GET /first")
          connection.send(isFirst ? Self.ok : "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright", on: reactor)
          await connection.read(on: reactor)
        }
        let address = try! backend.start(on: reactor)
        let balancer = try! await startBalancer([address], on: reactor) { $0.healthInterval = .seconds(60 as UInt64) }
        let client = try! await RawConnection.connect(to: balancer.address, on: reactor)
        client.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n", on: reactor)
        await client.read(until: "\r\n\r\nok", on: reactor)
        let kept = backend.connections.first { $0.received.contains("GET /first") }
        kept?.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong", on: reactor)
        client.send("GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", on: reactor)
        let answer = await client.read(on: reactor)
        client.stream.close(on: reactor)
        balancer.drain(within: .milliseconds(100))
        balancer.join()
        backend.stop(on: reactor)
        return answer
      }
      #expect(answer.hasSuffix("right"))
    }
  }

  @Test("a backend that dies in large uploads over kept connections is blamed") func diesInUploads() async throws {
    let stats = try await onReactor { reactor -> String in
      let backend = RawBackend { (connection, reactor) in
        guard await connection.nextRequest(on: reactor) else { return connection.stream.close(on: reactor) }
        connection.send(Self.ok, on: reactor)
        var taken = 0
        while taken < 500_000, await connection.stream.read(on: reactor) == .bytes {
          taken += connection.stream.input.count
          connection.stream.input.removeAll()
        }
        connection.stream.close(on: reactor)
      }
      let address = try! backend.start(on: reactor)
      let balancer = try! await startBalancer([address], on: reactor) { $0.healthInterval = .seconds(60 as UInt64) }
      let client = try! await RawConnection.connect(to: balancer.address, on: reactor)
      client.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n", on: reactor)
      await client.read(until: "\r\n\r\nok", on: reactor)
      client.send("PUT /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n", on: reactor)
      client.send(String(repeating: "x", count: 2_000_000), on: reactor)
      await client.read(until: "HTTP/1.1 502 ", on: reactor)
      client.stream.close(on: reactor)
      let stats = await exchange(
        "GET /lb/stats HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", balancer.address, on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      backend.stop(on: reactor)
      return stats
    }
    #expect(stats.contains("\"errors\":1"))
    #expect(stats.contains("\"in_flight\":0"))
  }

  /// Counts how often each token was posted.
  private final class Ledger {
    var tokens: [String: Int] = [:]

    func start(_ address: String, on reactor: isolated Reactor) throws(SystemError) -> HTTPServer {
      let router = Router(self)
      router.on(.get, "/health") { (_, _, _) throws(Problem) in .text(200, "well") }
      router.on(.post, "/note/{token}") { (ledger, request, _) throws(Problem) in
        ledger.tokens[request.parameter("token"), default: 0] += 1
        return .text(200, request.parameter("token"))
      }
      let server = HTTPServer(handler: router, metrics: HTTPServerMetrics(sharedMetrics))
      try server.listen(on: SocketAddress(address)!, on: reactor)
      return server
    }
  }

  @Test("backends that are restarted one after the other under load fail no request and do none twice")
  func rollingRestarts() async throws {
    let folder = TemporaryFolder()
    defer { withExtendedLifetime(folder) {} }
    let directory = folder.path
    let (wrong, repeated, done) = try await onReactor { reactor -> ([String], Int, Int) in
      let ledger = Ledger()
      let places = (1...3).map { "unix:\(directory)/\($0)" }
      var servers = places.map { try! ledger.start($0, on: reactor) }
      let balancer = try! await startBalancer(places.map { SocketAddress($0)! }, on: reactor) { $0.reactors = 2 }
      let stop = Flag()
      let clients = (0..<8).map { number in
        Task.immediate(executorPreference: reactor.queue) {
          await DeliveryTests.post(number, balancer.address, until: stop, on: reactor)
        }
      }
      for round in 0..<40 {
        let index = round % 3
        await servers[index].drain(until: reactor.now + .seconds(2 as UInt64), on: reactor)
        servers[index] = try! ledger.start(places[index], on: reactor)
      }
      stop.isSet = true
      var wrong: [String] = []
      for client in clients { wrong += await client.value }
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      for server in servers { await server.drain(until: reactor.now, on: reactor) }
      return (wrong, ledger.tokens.values.filter { $0 > 1 }.count, ledger.tokens.count)
    }
    #expect(wrong == [])
    #expect(repeated == 0)
    #expect(done > 100)
  }

  private final class Flag {
    var isSet = false
  }

  private static func post(
    _ number: Int, _ address: SocketAddress, until stop: Flag, on reactor: isolated Reactor
  ) async -> [String] {
    let client = HTTPClient()
    var wrong: [String] = []
    var step = 0
    while !stop.isSet {
      step += 1
      let token = "t\(number)-\(step)"
      do throws(HTTPClientError) {
        let request = HTTPClientRequest(.post, "/note/\(token)", body: Array("{}".utf8))
        let answer = try await client.send(
          request, to: address, until: reactor.now + .seconds(10 as UInt64), on: reactor)
        if answer.status != 200 || answer.body != Array(token.utf8) {
          wrong.append("\(token): \(answer.status) \(String(decoding: answer.body, as: UTF8.self))")
        }
      } catch {
        wrong.append("\(token): \(error)")
      }
    }
    client.closeIdle(on: reactor)
    return wrong
  }
}
