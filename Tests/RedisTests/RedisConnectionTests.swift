import Basics
import Reactor
import TestSupport
import Testing

@testable import Redis

@Suite(.timeLimit(.minutes(5))) struct RedisConnectionTests {
  @Test func `of several addresses each is tried until one answers`() async throws {
    let server = RedisServer()
    let good = SocketAddress(unixPath: server.socketPath)!
    let dead = SocketAddress(unixPath: server.folder + "/nobody")!
    try await onReactor { reactor in
      let configuration = RedisConfiguration(endpoint: "unix:x")
      let connection = try await RedisConnection.connect(to: [dead, dead, good], configuration, on: reactor)
      try await connection.logIn(configuration, on: reactor)
      connection.close(on: reactor)
      await #expect(throws: RedisError.self) {
        _ = try await RedisConnection.connect(to: [dead, dead], configuration, on: reactor)
      }
      await #expect(throws: RedisError.self) {
        _ = try await RedisConnection.connect(to: [], configuration, on: reactor)
      }
    }
  }
}
