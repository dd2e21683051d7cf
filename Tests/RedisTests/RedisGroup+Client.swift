import Basics
import Reactor
import TestSupport

@testable import Redis

extension RedisGroup {
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
