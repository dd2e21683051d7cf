import Basics
public import Reactor
public import Telemetry

/// Sends commands to Redis and waits for their answers: to one server, to whoever is master as the Sentinels say, or to
/// the node of a cluster that has the key.
///
/// Connections are made and made again in the background; while there is none, or while a server's breaker is open,
/// commands fail at once, so that a Redis that is down or frozen costs its callers at most one timeout now and then.
public final class RedisClient {
  private enum Servers {
    case one(RedisLink)
    case cluster(RedisCluster)
  }

  private let servers: Servers

  /// A client that begins to connect at once.
  public init(
    _ configuration: RedisConfiguration, resolver: Resolver, logger: Logger, metrics: RedisMetrics,
    on reactor: isolated Reactor
  ) {
    let logger = logger.named("redis")
    let makeLink = { (configuration: RedisConfiguration, reactor: isolated Reactor) in
      RedisLink(configuration, resolver: resolver, logger: logger, metrics: metrics, on: reactor)
    }
    servers =
      configuration.isCluster
      ? .cluster(RedisCluster(configuration, logger: logger, makeLink: makeLink, on: reactor))
      : .one(makeLink(configuration, reactor))
  }

  /// Whether a command can only be about keys that are together.
  var isCluster: Bool {
    if case .cluster = servers { true } else { false }
  }

  /// Ends the connections and does not make them again; commands that wait fail.
  public func close(on reactor: isolated Reactor) {
    switch servers {
    case .one(let link): link.close(on: reactor)
    case .cluster(let cluster): cluster.close(on: reactor)
    }
  }

  /// Sends a command, its name and arguments, which is about `key` or, if that is nil, about none, and waits for the
  /// answer.
  /// - Throws: `RedisError`; `.server` if the server refused.
  func command(
    _ arguments: [[UInt8]], about key: [UInt8]? = nil, on reactor: isolated Reactor
  ) async throws(RedisError) -> RedisValue {
    let value: RedisValue
    switch (servers, key) {
    case (.one(let link), _): value = try await link.command(arguments, on: reactor)
    case (.cluster(let cluster), let key?):
      value = try await cluster.answers(to: [arguments], about: key, on: reactor)[0]
    case (.cluster(let cluster), nil): value = try await cluster.anyNode().command(arguments, on: reactor)
    }
    if case .error(let message) = value { throw .server(message: message) }
    return value
  }

  /// Sends several commands about one key together and waits for all answers, in order; refusals stand among them as
  /// `.error`.
  /// - Throws: `RedisError` if not all were answered.
  func pipeline(
    _ commands: [[[UInt8]]], about key: [UInt8], on reactor: isolated Reactor
  ) async throws(RedisError) -> [RedisValue] {
    switch servers {
    case .one(let link): try await link.begin(commands, on: reactor).answers(on: reactor)
    case .cluster(let cluster): try await cluster.answers(to: commands, about: key, on: reactor)
    }
  }

  /// Sends several commands, each about a key of its own, together, and waits for all answers.
  /// - Throws: `RedisError` if not all were answered, or one was refused.
  func pipelineEach(
    _ commands: [(key: [UInt8], command: [[UInt8]])], on reactor: isolated Reactor
  ) async throws(RedisError) -> [RedisValue] {
    let values: [RedisValue]
    switch servers {
    case .one(let link): values = try await link.begin(commands.map(\.command), on: reactor).answers(on: reactor)
    case .cluster(let cluster):
      values = try await cluster.answers(to: commands.map { ($0.key, [$0.command]) }, on: reactor).map { $0[0] }
    }
    for case .error(let message) in values { throw .server(message: message) }
    return values
  }

  /// Every server that has keys, to be asked one by one.
  /// - Throws: `RedisError` if that is not known.
  func eachServer(on reactor: isolated Reactor) throws(RedisError) -> [RedisLink] {
    switch servers {
    case .one(let link): [link]
    case .cluster(let cluster): try cluster.masters(on: reactor)
    }
  }
}
