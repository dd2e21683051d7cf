// Tests see the inside of Redis' room, and in a release build nobody can: there are no tests then.
#if DEBUG
  import Basics
  import Foundation
  public import Reactor

  @testable public import Redis

  /// Real redis-servers of a test's own that know each other by address, on one that nobody else uses.
  public final class RedisGroup: @unchecked Sendable {
    // Safe because: only the test that made it changes it, one call after the other.
    /// Their address.
    public let host = "127.\(UInt8.random(in: 10...250)).\(UInt8.random(in: 0...250)).\(UInt8.random(in: 2...250))"
    private var servers: [Int: TestServer] = [:]

    /// None yet.
    public init() {}

    /// Starts a server and returns when it answers.
    public func start(port: Int, _ options: String = "", configuration: String = "") throws {
      servers[port] = try TestServer(
        prepare: "RUN sh -c 'printf \"\(configuration)\" >server.conf'",
        command: "redis-server $PWD/server.conf --port \(port) --bind \(host) --dir $PWD --save \"\" \(options)",
        isReady: "redis-cli -h \(host) -p \(port) ping | grep -q PONG", stopSignal: "KILL")
    }

    /// Ends a server at once.
    public func end(_ port: Int) {
      servers.removeValue(forKey: port)?.stop()
    }

    deinit {
      for server in servers.values { server.stop() }
    }

    /// `host:port` of one of them.
    public func endpoint(_ port: Int) -> String { "\(host):\(port)" }

    /// What the server says to a command of plain words.
    public func ask(_ port: Int, _ command: String, on reactor: isolated Reactor) async throws -> RedisValue {
      let configuration = RedisConfiguration(endpoint: endpoint(port))
      let connection = try await RedisConnection.connect(
        to: [SocketAddress(endpoint(port))!], configuration, on: reactor)
      defer { connection.close(on: reactor) }
      connection.send(command.split(separator: " ").map { Array($0.utf8) }, on: reactor)
      let answer = try await connection.reply(until: reactor.now + .seconds(10 as UInt64), on: reactor)
      if case .error(let message) = answer { throw RedisError.server(message: message) }
      return answer
    }

    // MARK: Together

    /// Three nodes that share the slots, and of which none copies another.
    public static func cluster() async throws -> RedisGroup {
      let group = RedisGroup()
      for port in 7001...7003 { try group.startNode(port) }
      try await onReactor { reactor in
        for (port, slots) in [(7001, "0 5460"), (7002, "5461 10922"), (7003, "10923 16383")] {
          _ = try await group.ask(port, "CLUSTER ADDSLOTSRANGE \(slots)", on: reactor)
          if port > 7001 { _ = try await group.ask(port, "CLUSTER MEET \(group.host) 7001", on: reactor) }
        }
        for port in 7001...7003 { try await untilWhole(group, port, on: reactor) }
      }
      return group
    }

    /// Starts one more node, which knows nobody.
    public func startNode(_ port: Int) throws {
      try start(
        port: port, "--cluster-enabled yes --cluster-node-timeout 1000 --cluster-announce-ip \(host)")
    }

    /// Waits until the node knows who has each slot.
    private static func untilWhole(_ group: RedisGroup, _ port: Int, on reactor: isolated Reactor) async throws {
      try await eventually(on: reactor) {
        let info = try await group.ask(port, "CLUSTER INFO", on: reactor).bytes ?? []
        return String(decoding: info, as: UTF8.self).contains("cluster_state:ok") ? true : nil
      }
    }

    /// Moves `count` slots and what is in them, as an administrator would.
    /// - Throws: `TestServer.Failure` with what the tool has printed.
    public func moveSlots(_ count: Int, from: Int, to: Int, on reactor: isolated Reactor) async throws {
      func id(_ port: Int) async throws -> String {
        String(decoding: try await ask(port, "CLUSTER MYID", on: reactor).bytes ?? [], as: UTF8.self)
      }
      let line = """
        redis-cli --cluster reshard \(endpoint(from)) --cluster-from \(try await id(from)) --cluster-to \
          \(try await id(to)) --cluster-slots \(count) --cluster-yes
        """
      let pid = try ChildProcess.start("/bin/sh", ["-c", line])
      var status: Int32 = 0
      while waitpid(pid, &status, WNOHANG) == 0 { await reactor.sleep(for: .milliseconds(20)) }
      guard status == 0 else { throw TestServer.Failure(description: "\(line) ended with \(status)") }
    }

    /// A master, a replica of it, and a Sentinel that watches both.
    public static func watched() async throws -> RedisGroup {
      let group = RedisGroup()
      let isKnown = "--replica-announce-ip \(group.host)"
      try group.start(port: 6001, isKnown)
      try group.start(port: 6002, "\(isKnown) --replicaof \(group.host) 6001")
      try group.start(
        port: 6003, "--sentinel",
        configuration: """
          sentinel monitor cache \(group.host) 6001 1\\nsentinel down-after-milliseconds cache 500\\n\
          sentinel failover-timeout cache 2000\\n
          """)
      try await onReactor { reactor in
        // Until the replica copies, and the Sentinel knows of it, nobody could take over.
        try await eventually(on: reactor) {
          try await group.ask(6002, "ROLE", on: reactor).array?[3].bytes == Array("connected".utf8) ? true : nil
        }
        try await eventually(on: reactor) {
          try await group.ask(6003, "SENTINEL REPLICAS cache", on: reactor).array?.count == 1 ? true : nil
        }
      }
      return group
    }
  }

  /// Waits until `attempt` succeeds, as long as the test may last, and returns what it returned.
  @discardableResult
  public func eventually<R>(
    on reactor: isolated Reactor, _ attempt: nonisolated(nonsending) () async throws -> R?
  ) async throws -> R {
    while true {
      if let result = try? await attempt() { return result }
      try Task.checkCancellation()
      await reactor.sleep(for: .milliseconds(20))
    }
  }
#endif
