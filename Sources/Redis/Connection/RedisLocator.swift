import Basics
import Reactor

/// Finds the server that a connection is to be made to. Where that depends on others they are asked each time anew: the
/// Sentinels who is master, a cluster's nodes which nodes there are.
final class RedisLocator {
  private let configuration: RedisConfiguration
  private let resolver: Resolver
  /// The Sentinels, the one in front that was asked the longest ago: whom the last one has named may not be who it was
  /// said to be, and the others know better.
  private var sentinels: [String]
  /// Nodes of a cluster that can stand in for the one that was named.
  private var nodes: [String] = []

  init(_ configuration: RedisConfiguration, _ resolver: Resolver) {
    self.configuration = configuration
    self.resolver = resolver
    sentinels = configuration.sentinels
  }

  /// Connects to the server; `RedisConnection.logIn` comes next.
  /// - Throws: `RedisError`.
  func connect(on reactor: isolated Reactor) async throws(RedisError) -> RedisConnection {
    if let master = configuration.master {
      let addresses = try await addresses(of: master, on: reactor)
      return try await RedisConnection.connect(to: addresses, configuration, on: reactor)
    }
    var failure = RedisError.cannotConnect(reason: "no address")
    for endpoint in [configuration.endpoint] + nodes {
      do throws(RedisError) {
        let addresses = try await resolve(endpoint, on: reactor)
        return try await RedisConnection.connect(to: addresses, configuration, on: reactor)
      } catch {
        failure = error
      }
    }
    throw failure
  }

  /// Remembers which nodes there are, if it is a cluster that `connection` leads to: any of them passes messages on.
  /// - Throws: `RedisError`.
  func learnNodes(of connection: RedisConnection, on reactor: isolated Reactor) async throws(RedisError) {
    guard configuration.isCluster else { return }
    connection.send(SlotMap.question, on: reactor)
    let answer = try await connection.reply(until: reactor.now + configuration.connectTimeout, on: reactor)
    guard let map = SlotMap(answer, askedAt: configuration.endpoint) else { throw .malformedReply }
    nodes = map.nodes
  }

  // MARK: Sentinels

  /// The master called `name`, as the first Sentinel says that knows one.
  private func addresses(
    of name: String, on reactor: isolated Reactor
  ) async throws(RedisError) -> [SocketAddress] {
    var failures: [String] = []
    for sentinel in sentinels {
      sentinels.removeAll { $0 == sentinel }
      sentinels.append(sentinel)
      do throws(RedisError) {
        let endpoint = try await ask(sentinel, for: name, on: reactor)
        return try await resolve(endpoint, on: reactor)
      } catch {
        failures.append("\(sentinel): \(error)")
      }
    }
    throw .cannotConnect(reason: "no Sentinel knows the master \(name): \(failures.joined(separator: "; "))")
  }

  private func ask(
    _ sentinel: String, for name: String, on reactor: isolated Reactor
  ) async throws(RedisError) -> String {
    var configuration = configuration
    (configuration.user, configuration.password) = (nil, configuration.sentinelPassword)
    (configuration.database, configuration.master) = (0, nil)
    configuration.connectTimeout = .milliseconds(Limits.sentinelTimeoutMs)
    let deadline = reactor.now + configuration.connectTimeout
    let addresses = try await resolve(sentinel, on: reactor)
    let connection = try await RedisConnection.connect(to: addresses, configuration, on: reactor)
    defer { connection.close(on: reactor) }
    try await connection.logIn(configuration, on: reactor)
    connection.send(["SENTINEL", "get-master-addr-by-name", name].map { Array($0.utf8) }, on: reactor)
    let answer = try await connection.reply(until: deadline, on: reactor)
    guard let parts = answer.array?.compactMap(\.bytes), parts.count == 2 else {
      if case .error(let message) = answer { throw .server(message: message) }
      throw .cannotConnect(reason: "it knows no master of this name")
    }
    return RedisEndpoint.text(String(decoding: parts[0], as: UTF8.self), String(decoding: parts[1], as: UTF8.self))
  }

  // MARK: Addresses

  private func resolve(_ endpoint: String, on reactor: isolated Reactor) async throws(RedisError) -> [SocketAddress] {
    if let address = SocketAddress(endpoint) { return [address] }
    guard let colon = endpoint.lastIndex(of: ":"), let port = UInt16(endpoint[endpoint.index(after: colon)...]) else {
      throw .cannotConnect(reason: "\(endpoint) is no address")
    }
    do {
      return try await resolver.addresses(of: String(endpoint[..<colon]), port: port, on: reactor)
    } catch {
      throw .cannotConnect(reason: "\(error)")
    }
  }
}
