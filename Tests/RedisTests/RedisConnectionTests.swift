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

  @Test func `a password is not repeated from the words of a server that does not want one`() async throws {
    let group = RedisGroup()
    try group.start(port: 5001, "--rename-command AUTH nobody")
    try await onReactor { reactor in
      var configuration = RedisConfiguration(endpoint: group.endpoint(5001))
      configuration.password = "hunter2"
      let connection = try await RedisConnection.connect(
        to: [SocketAddress(configuration.endpoint)!], configuration, on: reactor)
      defer { connection.close(on: reactor) }
      let wanted = configuration
      let error = await #expect(throws: RedisError.self) { try await connection.logIn(wanted, on: reactor) }
      #expect(error == .cannotConnect(reason: "AUTH refused: ERR"))
    }
  }
}
