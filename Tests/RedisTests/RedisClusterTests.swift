import Basics
import Reactor
import TestSupport
import Testing

@testable import Redis

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite(.timeLimit(.minutes(5))) struct RedisClusterTests {
  private func configuration(_ group: RedisGroup, _ port: Int = 7001) -> RedisConfiguration {
    var configuration = RedisConfiguration(endpoint: group.endpoint(port))
    configuration.isCluster = true
    return configuration
  }

  @Test func `each key is asked for where it is, and all of them are counted and removed`() async throws {
    let group = try await RedisGroup.cluster()
    let entries = (0..<300).map { (key: bytes("key-\($0)"), value: bytes("value-\($0)")) }
    try await group.withClient(configuration(group)) { client, reactor in
      let heard = Tally()
      let tools = try Tools()
      let subscriber = RedisSubscriber(
        configuration(group, 7003), channels: [bytes("news")], resolver: tools.resolver, logger: tools.logger,
        metrics: tools.metrics, receiver: heard, on: reactor)
      defer { subscriber.close(on: reactor) }
      await heard.waitFor(1, on: reactor)
      try await eventually(on: reactor) {
        try await client.setAll(
          entries, lifetimeMs: 60_000, thenPublish: bytes("all"), to: bytes("news"), on: reactor)
      }
      // Whatever node it was told to: all pass it on.
      await heard.waitFor(2, on: reactor)
      #expect(heard.log == ["connected", "news=all"])
      for entry in entries {
        #expect(try await client.getWithLifetime(entry.key, on: reactor)?.value == entry.value)
      }
      for port in 7001...7003 {
        let count = try await group.ask(port, "DBSIZE", on: reactor).integer ?? 0
        #expect(count > 50, "\(port)")
      }
      #expect(try await client.keyCount(on: reactor) == 300)
      #expect(try await client.info(on: reactor)["cluster_enabled"] == "3")
      #expect(try await client.remove([bytes("key-0"), bytes("key-1"), bytes("absent")], on: reactor) == 2)
      #expect(try await client.removeAll(prefix: bytes("key-1"), on: reactor) == 110)
      #expect(try await client.keyCount(on: reactor) == 188)
    }
  }

  @Test func `slots are those of the server`() async throws {
    let group = try await RedisGroup.cluster()
    var random = SeededRandom(seed: 10)
    var keys = ["", "a", "123456789", "{}", "{}a", "{a}b", "x{a}{b}", "{{a}}", "foo{}{bar}", "a}b{c}"]
    keys += (0..<200).map { _ in
      String((0..<Int.random(in: 1...9, using: &random)).map { _ in "ab{}1:".randomElement(using: &random)! })
    }
    let sample = keys
    try await onReactor { reactor in
      for key in sample where !key.isEmpty {
        let slot = try await group.ask(7001, "CLUSTER KEYSLOT \(key)", on: reactor).integer
        #expect(SlotMap.slot(of: bytes(key)) == slot.map(Int.init), "\(key)")
      }
    }
  }

  @Test func `a slot on its way is followed, and remembered where it has gone`() async throws {
    let group = try await RedisGroup.cluster()
    let (key, slot) = (bytes("foo"), 12_182)
    #expect(SlotMap.slot(of: key) == slot)
    try await group.withClient(configuration(group)) { client, reactor in
      try await eventually(on: reactor) {
        try await client.set(key, bytes("before"), lifetimeMs: 60_000, on: reactor)
      }
      func id(_ port: Int) async throws -> String {
        String(decoding: try await group.ask(port, "CLUSTER MYID", on: reactor).bytes ?? [], as: UTF8.self)
      }
      let (from, to) = (try await id(7003), try await id(7001))
      _ = try await group.ask(7001, "CLUSTER SETSLOT \(slot) IMPORTING \(from)", on: reactor)
      _ = try await group.ask(7003, "CLUSTER SETSLOT \(slot) MIGRATING \(to)", on: reactor)
      #expect(try await client.getWithLifetime(key, on: reactor)?.value == bytes("before"))
      _ = try await group.ask(7003, "MIGRATE \(group.host) 7001 foo 0 5000", on: reactor)
      // The node that has the slot says ASK.
      let moved = try await client.getWithLifetime(key, on: reactor)
      #expect(moved?.value == bytes("before") && (1...60_000).contains(moved?.lifetimeMs ?? 0))
      try await client.set(key, bytes("on the way"), lifetimeMs: 60_000, on: reactor)
      for port in [7001, 7003] { _ = try await group.ask(port, "CLUSTER SETSLOT \(slot) NODE \(to)", on: reactor) }
      // And now MOVED.
      #expect(try await client.getWithLifetime(key, on: reactor)?.value == bytes("on the way"))
      let commands = try await group.ask(7003, "INFO commandstats", on: reactor)
      for _ in 0..<10 { _ = try await client.getWithLifetime(key, on: reactor) }
      // Its former node is not asked any more.
      let later = try await group.ask(7003, "INFO commandstats", on: reactor)
      func gets(_ answer: RedisValue) -> Substring? {
        String(decoding: answer.bytes ?? [], as: UTF8.self).split(separator: "\r\n").first {
          $0.hasPrefix("cmdstat_get:")
        }
      }
      #expect(gets(commands) == gets(later))
    }
  }

  @Test func `a node's successor is found when it is lost`() async throws {
    let group = try await RedisGroup.cluster()
    try group.startNode(7004)
    try await group.withClient(configuration(group, 7003)) { client, reactor in
      _ = try await group.ask(7004, "CLUSTER MEET \(group.host) 7001", on: reactor)
      let master = String(decoding: try await group.ask(7003, "CLUSTER MYID", on: reactor).bytes ?? [], as: UTF8.self)
      try await eventually(on: reactor) {
        try await group.ask(7004, "CLUSTER REPLICATE \(master)", on: reactor)
      }
      let key = bytes("foo")
      try await eventually(on: reactor) {
        try await client.set(key, bytes("kept"), lifetimeMs: 3_600_000, on: reactor)
      }
      try await eventually(on: reactor) {
        let size = try await group.ask(7004, "DBSIZE", on: reactor).integer
        return size == 1 ? true : nil
      }
      // The one that the client was told of, and that has the key.
      group.end(7003)
      _ = try? await client.getWithLifetime(key, on: reactor)
      _ = try await group.ask(7004, "CLUSTER FAILOVER TAKEOVER", on: reactor)
      let found = try await eventually(on: reactor) {
        try await client.getWithLifetime(key, on: reactor)
      }
      #expect(found.value == bytes("kept"))
    }
  }

  @Test func `a server that names ever new nodes makes no more links than a cluster has`() async throws {
    let group = RedisGroup()
    try group.startNode(7001)
    let tools = try Tools()
    var patient = configuration(group)
    patient.commandTimeout = .seconds(2 as UInt64)
    let configuration = patient
    try await onReactor { reactor in
      _ = try await group.ask(7001, "CLUSTER ADDSLOTSRANGE 0 16383", on: reactor)
      let cluster = RedisCluster(
        configuration, logger: tools.logger, linksMax: 10,
        makeLink: { configuration, reactor in
          RedisLink(
            configuration, resolver: tools.resolver, logger: tools.logger, metrics: tools.metrics, on: reactor)
        }, on: reactor)
      defer { cluster.close(on: reactor) }
      let key = bytes("foo")
      try await eventually(on: reactor) {
        try await cluster.answers(to: [[bytes("PING")]], about: key, on: reactor) == [.status("PONG")] ? true : nil
      }
      // It tells no map any more, and of other nodes with each answer.
      _ = try await group.ask(7001, "ACL SETUSER default -cluster", on: reactor)
      var refusals = 0
      for port in 1...50 {
        let script = "return redis.error_reply('\(port % 2 == 0 ? "ASK" : "MOVED") 0 \(group.host):\(port)')"
        let commands = [[bytes("EVAL"), bytes(script), bytes("0")]]
        do throws(RedisError) {
          _ = try await cluster.answers(to: commands, about: key, on: reactor)
        } catch {
          refusals += error == .overloaded ? 1 : 0
        }
      }
      #expect(cluster.linkCount == 10 && refusals >= 40, "\(cluster.linkCount) \(refusals)")
    }
  }

  @Test func `answers that are no redirections, or no maps, are none`() {
    func redirection(_ text: String) -> Redirection? { Redirection(.error(text), askedAt: "10.0.0.1:7001") }
    #expect(redirection("MOVED 3999 127.0.0.1:6381")?.node == "127.0.0.1:6381")
    #expect(redirection("MOVED 3999 :6381")?.node == "10.0.0.1:6381")
    #expect(redirection("ASK 1 ::1:6381").map { ($0.node, $0.isOnce) } ?? ("", false) == ("[::1]:6381", true))
    for text in [
      "MOVED", "MOVED 16384 h:1", "MOVED -1 h:1", "MOVED 1 h", "MOVED 1 h:x", "MOVED 1 h:70000", "ERR 1 h:1",
    ] {
      #expect(redirection(text) == nil, "\(text)")
    }
    func range(_ first: Int64, _ last: Int64, _ host: RedisValue, _ port: Int64) -> RedisValue {
      .array([.integer(first), .integer(last), .array([host, .integer(port), .string([])])])
    }
    let map = SlotMap(
      .array([range(0, 1, .string(bytes("h")), 1), range(2, 2, .null, 2)]), askedAt: "10.0.0.1:7001")
    #expect(map.map { [$0.owner(of: 1), $0.owner(of: 2), $0.owner(of: 3)] } == ["h:1", "10.0.0.1:2", nil])
    // One that says everything again and again costs no more than one that says it once.
    let all = range(0, 16_383, .string(bytes("h")), 1)
    #expect(SlotMap(.array([RedisValue](repeating: all, count: 65_536)), askedAt: "h:1") == nil)
    let crowd = (0..<1001).map { range($0, $0, .string(bytes("h\($0)")), 1) }
    #expect(SlotMap(.array(Array(crowd.dropLast())), askedAt: "h:1")?.nodes.count == 1000)
    #expect(SlotMap(.array(crowd), askedAt: "h:1") == nil)
    for (first, last) in [(-1, 1), (0, 16_384), (2, 1)] as [(Int64, Int64)] {
      #expect(SlotMap(.array([range(first, last, .null, 1)]), askedAt: "h:1") == nil)
    }
  }
}
