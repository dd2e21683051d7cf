@testable import Balancer
import Basics
import Glibc
import HTTP
import Reactor
import TestSupport
import Testing

/// Connections that end, or say too much, at the worst moment.
@Suite("Aborts", .timeLimit(.minutes(2))) struct AbortTests {
  private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

  /// Makes closing `connection` a reset (SO_LINGER 0, socket(7)).
  private static func abort(_ connection: RawConnection, on reactor: isolated Reactor) {
    var option = linger(l_onoff: 1, l_linger: 0)
    setsockopt(connection.stream.fd, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
    connection.stream.close(on: reactor)
  }

  @Test("clients that ask for an invitation and reset the connection behind it end nothing but themselves")
  func resetBehindExpect() async throws {
    let answers = try await onReactor { reactor -> [String] in
      let (server, address) = try! OriginServer.start("1", on: reactor)
      let balancer = try! await startBalancer([address], on: reactor)
      let bystander = try! await RawConnection.connect(to: balancer.address, on: reactor)
      for path in ["/body", "/lb/strategy"] {
        for _ in 0..<200 {
          let client = try! await RawConnection.connect(to: balancer.address, on: reactor)
          client.send(
            "POST \(path) HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", on: reactor)
          Self.abort(client, on: reactor)
        }
      }
      bystander.send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n", on: reactor)
      var answers = [await bystander.read(until: "\r\n\r\n1", on: reactor)]
      bystander.stream.close(on: reactor)
      var stats = ""
      for _ in 0..<200 where !stats.contains("\"in_flight\":0") {
        await reactor.sleep(for: .milliseconds(10))
        stats = await exchange(
          "GET /lb/stats HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", balancer.address, on: reactor)
      }
      answers.append(stats)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      await server.drain(until: reactor.now, on: reactor)
      return answers
    }
    #expect(answers[0].hasSuffix("\r\n\r\n1"))
    #expect(answers[1].contains("\"in_flight\":0"))
  }

  @Test("a POST that a backend reads and then aborts is not sent again", arguments: ["127.0.0.1:0", "unix"])
  func readAndAborted(listen: String) async throws {
    let folder = TemporaryFolder()
    defer { withExtendedLifetime(folder) {} }
    let directory = folder.path
    let (answer, requests) = try await onReactor { reactor -> (String, Int) in
      let backend = RawBackend { (connection, reactor) in
        guard await connection.nextRequest(on: reactor) else { return connection.stream.close(on: reactor) }
        await connection.read(until: "hello", on: reactor)
        Self.abort(connection, on: reactor)
      }
      let address = try! backend.start(listen == "unix" ? "unix:\(directory)/s" : listen, on: reactor)
      let balancer = try! await startBalancer([address], on: reactor) { $0.healthInterval = .seconds(60 as UInt64) }
      let answer = await exchange(
        "POST /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", balancer.address,
        on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      backend.stop(on: reactor)
      return (answer, backend.received.count)
    }
    #expect(answer.hasPrefix("HTTP/1.1 502 "))
    #expect(requests == 1)
  }

  @Test("uploads on a connection that has grown fast reach a backend that is only being connected to")
  func uploadsToFreshBackends() async throws {
    let size = 700_000
    let statuses = try await onReactor { reactor -> [Int] in
      let backend = RawBackend { (connection, reactor) in
        guard await connection.nextRequest(on: reactor) else { return connection.stream.close(on: reactor) }
        var got = connection.received.utf8.count - connection.received.utf8.firstEnd
        while got < size, await connection.stream.read(on: reactor) == .bytes {
          got += connection.stream.input.count
          connection.stream.input.removeAll()
        }
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", on: reactor)
        connection.stream.shutdownWriting(on: reactor)
      }
      let address = try! backend.start(on: reactor)
      let balancer = try! await startBalancer([address], on: reactor) { $0.healthInterval = .seconds(60 as UInt64) }
      let fd = try! await Connector.connect(to: balancer.address, until: .never, on: reactor)
      let client = try! Stream(adopting: fd, on: reactor)
      let body = [UInt8](repeating: UInt8(ascii: "x"), count: size)
      var statuses: [Int] = []
      for _ in 0..<12 {
        client.write(Array("PUT /p HTTP/1.1\r\nHost: a\r\nContent-Length: \(size)\r\n\r\n".utf8) + body, on: reactor)
        let outcome = await client.read(until: reactor.now + .seconds(10 as UInt64), on: reactor)
        guard outcome == .bytes else { break }
        let text = String(decoding: client.input.bytes(0..<client.input.count), as: UTF8.self)
        client.input.removeAll()
        statuses.append(text.hasPrefix("HTTP/1.1 200 OK") ? 200 : 0)
      }
      client.close(on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      backend.stop(on: reactor)
      return statuses
    }
    #expect(statuses == Array(repeating: 200, count: 12))
  }

  @Test("what a backend says behind its response is nobody's response")
  func surplus() async throws {
    let answers = try await onReactor { reactor -> String in
      let backend = RawBackend { (connection, reactor) in
        guard await connection.nextRequest(on: reactor) else { return connection.stream.close(on: reactor) }
        if connection.received.contains("GET /first") {
          // Head and body fill one read of the balancer exactly; the surplus stays in the kernel.
          let head = "HTTP/1.1 200 OK\r\nContent-Length: 65494\r\n\r\n"
          let surplus = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"
          connection.send(head + String(repeating: "x", count: 65494) + surplus, on: reactor)
          await connection.read(on: reactor)
        } else {
          connection.send(Self.ok, on: reactor)
        }
      }
      let address = try! backend.start(on: reactor)
      let balancer = try! await startBalancer([address], on: reactor) { $0.healthInterval = .seconds(60 as UInt64) }
      let client = try! await RawConnection.connect(to: balancer.address, on: reactor)
      client.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n", on: reactor)
      await client.read(until: "xxxxxxxxxxxx", count: 5457, on: reactor)
      let second = try! await RawConnection.connect(to: balancer.address, on: reactor)
      second.send("GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", on: reactor)
      let answer = await second.read(on: reactor)
      client.stream.close(on: reactor)
      second.stream.close(on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      backend.stop(on: reactor)
      return answer
    }
    #expect(answers.hasSuffix("\r\n\r\nok"))
  }
}

extension String.UTF8View {
  /// Where the head ends.
  fileprivate var firstEnd: Int {
    firstRange(of: Array("\r\n\r\n".utf8)).map { distance(from: startIndex, to: $0.upperBound) } ?? 0
  }
}
