import Basics
import Reactor
import TestSupport
import Testing

@testable import HTTP

@Suite("Room", .timeLimit(.minutes(5))) struct RoomTests {
  @Test("who waits to be let in is let in as soon as somebody has no request in progress any more")
  func letIn() async throws {
    let seen = try await onReactor { reactor -> (waits: Bool, other: String) in
      let (server, address, fixture) = try Fixture.start(connectionsMax: 1, on: reactor)
      let first = try await RawClient(address, on: reactor)
      first.send("GET /gate HTTP/1.1\r\nHost: a\r\n\r\n", on: reactor)
      while fixture.gate == nil { await reactor.sleep(for: .milliseconds(1)) }
      let second = try await RawClient(address, on: reactor)
      second.send("GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", on: reactor)
      while !server.isAwaitingRoom { await reactor.sleep(for: .milliseconds(1)) }
      fixture.gate?.resume()
      _ = await first.read(until: "open", on: reactor)
      let waits = server.isAwaitingRoom
      let other = await second.read(on: reactor)
      for client in [first, second] { client.stream.close(on: reactor) }
      await server.drain(until: reactor.now, on: reactor)
      return (waits, other)
    }
    #expect(!seen.waits && seen.other.hasSuffix("hello"), "\(seen)")
  }
}
