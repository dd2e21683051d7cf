import Basics
import Reactor
import Telemetry

/// The nodes of a Redis Cluster, a link to each, and which of them has which slot. What a node says of where a key has
/// gone is followed and remembered; the map is read anew every minute, and as soon as something does not fit it.
final class RedisCluster {
  private let configuration: RedisConfiguration
  private let makeLink: (RedisConfiguration, isolated Reactor) -> RedisLink
  private let logger: Logger
  /// To the node that was named, which may have no slot, and to all that have one.
  private var links: [String: RedisLink] = [:]
  private var map = SlotMap()
  private let pause = Pause()
  private let linksMax: Int
  private var isStale = true
  private var isClosed = false

  init(
    _ configuration: RedisConfiguration, logger: Logger,
    linksMax: Int = Limits.clusterNodesMax + 1,
    makeLink: @escaping (RedisConfiguration, isolated Reactor) -> RedisLink, on reactor: isolated Reactor
  ) {
    self.linksMax = linksMax
    self.configuration = configuration
    self.makeLink = makeLink
    self.logger = logger
    links[configuration.endpoint] = makeLink(configuration, reactor)
    Task.immediate(executorPreference: reactor.queue) { await self.followMap(on: reactor) }
  }

  func close(on reactor: isolated Reactor) {
    isClosed = true
    pause.end()
    for link in links.values { link.close(on: reactor) }
  }

  /// How many nodes there is a link to.
  var linkCount: Int { links.count }

  /// Every node that has a slot.
  func masters(on reactor: isolated Reactor) throws(RedisError) -> [RedisLink] {
    guard !map.nodes.isEmpty else { throw .notConnected }
    var masters: [RedisLink] = []
    for node in map.nodes { masters.append(try link(to: node, on: reactor)) }
    return masters
  }

  /// Any node that answers.
  func anyNode() throws(RedisError) -> RedisLink {
    guard let link = links.values.first(where: \.isConnected) else { throw .notConnected }
    return link
  }

  /// The node that has `key`, as far as is known.
  private func node(of key: [UInt8]) throws(RedisError) -> String {
    guard let node = map.owner(of: SlotMap.slot(of: key)) else {
      wantMap()
      throw .notConnected
    }
    return node
  }

  /// The answers to `commands`, each of which is about `key` and may be sent twice.
  /// - Throws: `RedisError`.
  func answers(
    to commands: [[[UInt8]]], about key: [UInt8], on reactor: isolated Reactor
  ) async throws(RedisError) -> [RedisValue] {
    try await answers(to: [(key, commands)], on: reactor)[0]
  }

  /// The answers to several groups of commands, each group about a key of its own, in order. All leave together; those
  /// that are sent on from one node to another are repeated there.
  /// - Throws: `RedisError`.
  func answers(
    to groups: [(key: [UInt8], commands: [[[UInt8]]])], on reactor: isolated Reactor
  ) async throws(RedisError) -> [[RedisValue]] {
    var answers = [[RedisValue]](repeating: [], count: groups.count)
    var nodes: [(group: Int, node: String, asks: Bool)] = []
    for (number, group) in groups.enumerated() { nodes.append((number, try node(of: group.key), false)) }
    for _ in 0...Limits.redirectionsMax {
      var batches: [RedisBatch] = []
      do throws(RedisError) {
        for (number, node, asks) in nodes {
          let commands = groups[number].commands
          let sent = asks ? commands.flatMap { [RedisCluster.asking, $0] } : commands
          batches.append(try link(to: node, on: reactor).begin(sent, on: reactor))
        }
        var redirected: [(group: Int, node: String, asks: Bool)] = []
        for ((number, node, asks), batch) in zip(nodes, batches) {
          let values = try await batch.answers(on: reactor)
          answers[number] = asks ? values.enumerated().filter { $0.offset % 2 == 1 }.map(\.element) : values
          guard let next = answers[number].lazy.compactMap({ Redirection($0, askedAt: node) }).first else { continue }
          if !next.isOnce {
            map.give(next.slot, to: next.node)
            wantMap()
          }
          redirected.append((number, next.node, next.isOnce))
        }
        if redirected.isEmpty { return answers }
        nodes = redirected
      } catch {
        wantMap()
        throw error
      }
    }
    throw .server(message: "sent on from node to node")
  }

  // MARK: The map

  private func link(to node: String, on reactor: isolated Reactor) throws(RedisError) -> RedisLink {
    if let link = links[node] { return link }
    // Wherever a server sends us, there are no more of them than a cluster has until the next map tells which are left.
    guard links.count < linksMax else { throw .overloaded }
    var configuration = configuration
    configuration.endpoint = node
    let link = makeLink(configuration, reactor)
    links[node] = link
    return link
  }

  private func wantMap() {
    guard !isStale else { return }
    isStale = true
    pause.end()
  }

  /// Reads the map when it is wanted, and every minute.
  private func followMap(on reactor: isolated Reactor) async {
    while !isClosed {
      if await readMap(on: reactor) {
        isStale = false
        await pause.wait(until: reactor.now + .milliseconds(Limits.clusterMapMs), on: reactor)
      }
      // Also when somebody wants it again at once.
      if !isClosed { await reactor.sleep(for: .milliseconds(Limits.clusterMapPauseMs)) }
    }
  }

  /// Asks the nodes one after the other, and takes the first map that is told.
  private func readMap(on reactor: isolated Reactor) async -> Bool {
    for (node, link) in links where link.isConnected {
      do throws(RedisError) {
        let answer = try await link.command(SlotMap.question, on: reactor)
        guard !isClosed else { return false }
        if case .error(let message) = answer { throw .server(message: message) }
        guard let map = SlotMap(answer, askedAt: node) else { throw .malformedReply }
        guard !map.nodes.isEmpty else { continue }
        take(map, on: reactor)
        return true
      } catch {
        logger.debug("a node told no map", [("node", node), ("reason", "\(error)")])
      }
    }
    return false
  }

  private func take(_ map: SlotMap, on reactor: isolated Reactor) {
    if map.nodes != self.map.nodes { logger.info("cluster", [("nodes", map.nodes.joined(separator: ","))]) }
    self.map = map
    for (node, link) in links where !map.nodes.contains(node) && node != configuration.endpoint {
      link.close(on: reactor)
      links[node] = nil
    }
    for node in map.nodes { _ = try? link(to: node, on: reactor) }
  }

  private static let asking = [Array("ASKING".utf8)]
}
