@testable import Balancer
import Basics
import Reactor
import TestSupport
import Testing

/// What a balancer holds for those who do not take or give is bounded, and given back.
@Suite("Held bytes", .timeLimit(.minutes(5))) struct HeldBytesTests {
  /// A backend that takes nothing behind the head.
  private static let deaf: RawBackend.Script = { connection, reactor in await Pause().wait(until: .never, on: reactor) }

  private static func upload(_ bytes: Int, of length: Int) -> String {
    request("POST /p", "Content-Length: \(length)\r\n", kept: true) + String(repeating: "x", count: bytes)
  }

  @Test("stuck uploads hold no more than they may, the longest stuck are parted with, and all comes back")
  func stuckUploads() async throws {
    let limit = 1 << 20
    let folder = TemporaryFolder()
    defer { withExtendedLifetime(folder) {} }
    // A Unix socket's kernel takes little of each.
    let seen = try await onOneReactor(backendAt: "unix:\(folder.path)/deaf") {
      $0.memoryBytes = 4 * limit
      // Clients that leave cannot be seen to leave: their end stands behind what nobody reads. All come before that.
      $0.times.taking = .seconds(10 as UInt64)
    } script: { connection, reactor in
      await Self.deaf(connection, reactor)
    } run: { around, reactor -> (answer: String, most: Int, left: Int) in
      let proxy = around.proxy
      var clients: [RawConnection] = []
      var most = 0
      for _ in 0..<60 {
        let client = try await RawConnection.connect(to: around.address, on: reactor)
        client.stream.write(Array(Self.upload(600_000, of: 900_000).utf8), on: reactor)
        clients.append(client)
        await reactor.sleep(for: .milliseconds(1))
        most = max(most, proxy.held.count)
      }
      let answer = await clients[0].read(until: "\r\n\r\n", on: reactor)
      for client in clients { client.close(on: reactor) }
      while proxy.held.count > 0 { await reactor.sleep(for: .milliseconds(5)) }
      return (answer, most, proxy.held.count)
    }
    #expect(seen.answer.hasPrefix("HTTP/1.1 503 "))
    #expect(seen.most > limit / 2 && seen.most <= limit + limit / 4, "\(seen.most)")
    #expect(seen.left == 0)
  }

  @Test("copies of requests that wait for their answers go before anybody is parted with") func copies() async throws {
    let (count, bytes, limit) = (60, 40_000, 1 << 20)
    let folder = TemporaryFolder()
    defer { withExtendedLifetime(folder) {} }
    let answers = try await onOneReactor(backendAt: "unix:\(folder.path)/slow") {
      $0.memoryBytes = 4 * limit
    } script: { connection, reactor in
      await connection.discard(bytes, on: reactor)
      await Pause().wait(until: .never, on: reactor)
    } run: { around, reactor -> [String] in
      var clients: [RawConnection] = []
      for _ in 0..<count {
        let client = try await RawConnection.connect(to: around.address, on: reactor)
        client.stream.write(Array(Self.upload(bytes, of: bytes).utf8), on: reactor)
        clients.append(client)
      }
      _ = await around.backend.waits(forAsked: count, on: reactor)
      while around.proxy.held.count > limit { await reactor.sleep(for: .milliseconds(5)) }
      for connection in around.backend.connections { connection.send(RawBackend.ok, on: reactor) }
      var answers: [String] = []
      for client in clients { answers.append(await client.read(until: "\r\n\r\n", on: reactor)) }
      for client in clients { client.close(on: reactor) }
      return answers
    }
    #expect(answers.filter { $0.hasPrefix("HTTP/1.1 200 ") }.count == count)
  }

  @Test("a client that leaves within its upload is seen to leave, although the backend takes nothing")
  func leavesWithin() async throws {
    let isSeen = try await onOneReactor {
      $0.times.taking = .seconds(30 as UInt64)
    } script: { connection, reactor in
      await Self.deaf(connection, reactor)
    } run: { around, reactor -> Bool in
      let (client, proxy) = (around.client, around.proxy)
      client.send(Self.upload(0, of: 90_000_000), on: reactor)
      let piece = String(repeating: "x", count: 16_000)
      while !proxy.sessions.contains(where: { $0.exchange.isRequestBlocked }) {
        client.send(piece, on: reactor)
        await reactor.sleep(for: .milliseconds(1))
      }
      // It is not read any more, and its end stands behind what is unread.
      client.send(piece, on: reactor)
      client.stream.shutdownWriting(on: reactor)
      let end = await client.stream.read(until: reactor.now + .seconds(10 as UInt64), on: reactor)
      return end != .deadline
    }
    #expect(isSeen)
  }
}
