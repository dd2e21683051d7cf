import Basics
import Foundation
import Reactor
import Telemetry
import TestSupport

@testable import Redis

/// Real redis-servers of a test's own that know each other by address, on one that nobody else uses.
final class RedisGroup: @unchecked Sendable {
  // Safe because: only the test that made it changes it, one call after the other.
  let host = "127.\(UInt8.random(in: 10...250)).\(UInt8.random(in: 0...250)).\(UInt8.random(in: 2...250))"
  private(set) var servers: [Int: TestServer] = [:]

  /// Starts a server and returns when it answers.
  func start(port: Int, _ options: String = "", configuration: String = "") throws {
    servers[port] = try TestServer(
      prepare: "RUN sh -c 'printf \"\(configuration)\" >server.conf'",
      command: "redis-server $PWD/server.conf --port \(port) --bind \(host) --dir $PWD --save \"\" \(options)",
      isReady: "redis-cli -h \(host) -p \(port) ping | grep -q PONG", stopSignal: "KILL")
  }

  func signal(_ port: Int, _ signal: CInt) {
    if let server = servers[port] { kill(server.processId, signal) }
  }

  /// Ends a server at once.
  func end(_ port: Int) {
    servers.removeValue(forKey: port)?.stop()
  }

  deinit {
    for server in servers.values { server.stop() }
  }

  func endpoint(_ port: Int) -> String { "\(host):\(port)" }

  /// What the server says to a command of plain words.
  func ask(_ port: Int, _ command: String, on reactor: isolated Reactor) async throws -> RedisValue {
    let configuration = RedisConfiguration(endpoint: endpoint(port))
    let connection = try await RedisConnection.connect(
      to: [SocketAddress(endpoint(port))!], configuration, on: reactor)
    defer { connection.close(on: reactor) }
    connection.send(command.split(separator: " ").map { Array($0.utf8) }, on: reactor)
    let answer = try await connection.reply(until: reactor.now + .seconds(10 as UInt64), on: reactor)
    if case .error(let message) = answer { throw RedisError.server(message: message) }
    return answer
  }

  /// Runs `body` on a reactor of its own with a client that is configured so, and closes that.
  func withClient<R: Sendable>(
    _ configuration: RedisConfiguration,
    _ body: @escaping @Sendable (RedisClient, isolated Reactor) async throws -> R
  ) async throws -> R {
    let tools = try Tools()
    var patient = configuration
    patient.commandTimeout = .seconds(2 as UInt64)
    let configuration = patient
    return try await onReactor { reactor in
      let client = RedisClient(
        configuration, resolver: tools.resolver, logger: tools.logger, metrics: tools.metrics, on: reactor)
      defer { client.close(on: reactor) }
      return try await body(client, reactor)
    }
  }
}

/// Waits until `attempt` succeeds, as long as the test may last, and returns what it returned.
@discardableResult
func eventually<R>(
  on reactor: isolated Reactor, _ attempt: nonisolated(nonsending) () async throws -> R?
) async throws -> R {
  while true {
    if let result = try? await attempt() { return result }
    try Task.checkCancellation()
    await reactor.sleep(for: .milliseconds(20))
  }
}
