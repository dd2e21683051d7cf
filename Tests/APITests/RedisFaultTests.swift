import Basics
import Caching
import DataItems
import Reactor
import Redis
import TestSupport
import Testing

@testable import API

extension APITests {
  /// I9 while the Redis that processes share changes hands.
  @Suite("Values while Redis changes hands", .timeLimit(.minutes(5))) struct RedisFaultTests {
    /// Writes numbers to keys as another process would, reads them here, and notes what is too old.
    private final class Checker {
      private let data: DataCache
      private let store: DataStore
      private var random: SeededRandom
      /// When the numbers of each key were acknowledged.
      private var acknowledged = [[MonotonicTime]](repeating: [], count: 20)
      private(set) var wrong: [String] = []
      private(set) var reads = 0
      private(set) var sharedHits = 0
      private(set) var failures = 0
      private var tasks: [Task<Void, Never>] = []
      var isOver = false

      init(_ data: DataCache, _ store: DataStore, seed: UInt64) {
        (self.data, self.store, random) = (data, store, SeededRandom(seed: seed))
      }

      func begin(on reactor: isolated Reactor) {
        tasks.append(Task.immediate(executorPreference: reactor.queue) { await write(on: reactor) })
        for _ in 0..<2 {
          tasks.append(Task.immediate(executorPreference: reactor.queue) { await read(on: reactor) })
        }
      }

      func end(on reactor: isolated Reactor) async {
        isOver = true
        for task in tasks { await task.value }
      }

      private func write(on reactor: isolated Reactor) async {
        while !isOver {
          await reactor.sleep(for: .milliseconds(UInt64.random(in: 0...10, using: &random)))
          let key = acknowledged.indices.randomElement(using: &random) ?? 0
          let json = Array(#""\#(key):\#(acknowledged[key].count)""#.utf8)
          do {
            try await store.put("key-\(key)", json, on: reactor)
            acknowledged[key].append(reactor.now)
          } catch {
            failures += 1
          }
        }
      }

      private func read(on reactor: isolated Reactor) async {
        while !isOver {
          await reactor.sleep(for: .milliseconds(1))
          let key = acknowledged.indices.randomElement(using: &random) ?? 0
          // What is in memory is not what this is about.
          if reads % 5 == 0 { data.forgetAll() }
          let now = reactor.now
          let least = acknowledged[key].lastIndex { now.since($0) > .seconds(1 as UInt64) }
          do {
            let found = try await data.value(DataQuery(key: DataKey(.item, "key-\(key)")), on: reactor)
            reads += 1
            if found.level == .l2 { sharedHits += 1 }
            let text = String(decoding: found.value?.json ?? [], as: UTF8.self)
            let parts = text.split(whereSeparator: { $0 == "\"" || $0 == ":" }).compactMap { Int($0) }
            if let least, parts.count != 2 || parts[0] != key || parts[1] < least {
              wrong.append(
                "key \(key) was \(text) and not \(least), from \(found.level?.name.description ?? "its source")")
            }
          } catch {
            failures += 1
          }
        }
      }
    }

    /// Has `fault` happen beside reads and writes, and waits until copies are found in Redis before it and after it.
    private static func check(
      _ name: String, _ redis: RedisConfiguration,
      _ fault: @escaping @Sendable (isolated Reactor) async throws -> Void
    ) async throws {
      let seed = UInt64.random(in: 1 ... .max)
      try await onReactor { reactor in
        let (api, _) = try await APIHarness.startForUser(name, { $0.redis = redis }, on: reactor)
        let user = DataUser(api: api, token: ("", ""))
        let (store, pool) = try await user.otherStore(on: reactor)
        let checker = Checker(api.service.data, store, seed: seed)
        checker.begin(on: reactor)
        try await eventually(on: reactor) { checker.sharedHits > 20 ? true : nil }
        try await fault(reactor)
        let (reads, hits) = (checker.reads, checker.sharedHits)
        try await eventually(on: reactor) { checker.reads > reads + 500 && checker.sharedHits > hits + 20 ? true : nil }
        await checker.end(on: reactor)
        #expect(checker.wrong.isEmpty, "seed \(seed): \(checker.wrong.prefix(3))")
        // Redis is never needed.
        #expect(checker.failures == 0, "seed \(seed)")
        store.close(on: reactor)
        _ = pool
        await api.stop(on: reactor)
      }
    }

    @Test("I9 a master of Redis is lost and another one takes its place") func failover() async throws {
      let group = try await RedisGroup.watched()
      var redis = RedisConfiguration(endpoint: "")
      (redis.master, redis.sentinels) = ("cache", [group.endpoint(6003)])
      try await Self.check("redis_failover", redis) { _ in group.end(6001) }
    }

    @Test("I9 Redis is full and throws out what it likes, and then everything") func evicting() async throws {
      let group = RedisGroup()
      try group.start(port: 6001, "--maxmemory 3mb --maxmemory-policy allkeys-random --enable-debug-command yes")
      try await Self.check("redis_full", RedisConfiguration(endpoint: group.endpoint(6001))) { reactor in
        // More than it has room for, again and again.
        for _ in 0..<40 { _ = try await group.ask(6001, "DEBUG POPULATE 20000 filler 100", on: reactor) }
        let info = try await group.ask(6001, "INFO stats", on: reactor).bytes ?? []
        #expect(!String(decoding: info, as: UTF8.self).contains("evicted_keys:0\r"))
        _ = try await group.ask(6001, "FLUSHALL", on: reactor)
      }
    }

    @Test("I9 slots of a Redis Cluster move from node to node, and a node is emptied") func resharding() async throws {
      let group = try await RedisGroup.cluster()
      var redis = RedisConfiguration(endpoint: group.endpoint(7001))
      redis.isCluster = true
      try await Self.check("redis_cluster", redis) { reactor in
        for (from, to) in [(7003, 7001), (7001, 7002)] {
          try await group.moveSlots(3000, from: from, to: to, on: reactor)
        }
        _ = try await group.ask(7002, "FLUSHALL", on: reactor)
      }
    }
  }
}
