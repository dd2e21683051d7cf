import Basics
import Glibc
import Reactor
import TestSupport
import Testing

@testable import Redis

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

@Suite(.timeLimit(.minutes(5))) struct RedisSentinelTests {
  /// Of the two Sentinels that are named the first is not there.
  private func configuration(_ group: RedisGroup) -> RedisConfiguration {
    var configuration = RedisConfiguration(endpoint: "")
    configuration.master = "cache"
    configuration.sentinels = [group.endpoint(6999), group.endpoint(6003)]
    return configuration
  }

  @Test func `a master's successor is asked for and found`() async throws {
    let group = try await RedisGroup.watched()
    try await group.withClient(configuration(group)) { client, reactor in
      let heard = Tally()
      let tools = try Tools()
      let subscriber = RedisSubscriber(
        configuration(group), channels: [bytes("news")], resolver: tools.resolver, logger: tools.logger,
        metrics: tools.metrics, receiver: heard, on: reactor)
      defer { subscriber.close(on: reactor) }
      await heard.waitFor(1, on: reactor)
      try await eventually(on: reactor) {
        try await client.set(bytes("a"), bytes("1"), lifetimeMs: 60_000, on: reactor)
      }
      #expect(try await group.ask(6001, "GET a", on: reactor) == .string(bytes("1")))
      group.end(6001)
      await heard.waitFor(2, on: reactor)
      try await eventually(on: reactor) {
        try await client.set(bytes("b"), bytes("2"), lifetimeMs: 60_000, on: reactor)
      }
      #expect(try await group.ask(6002, "GET b", on: reactor) == .string(bytes("2")))
      try await eventually(on: reactor) { heard.log.last == "connected" && heard.log.count == 3 ? true : nil }
      _ = try await client.publish(bytes("3"), to: bytes("news"), on: reactor)
      await heard.waitFor(4, on: reactor)
      #expect(heard.log == ["connected", "disconnected", "connected", "news=3"])
    }
  }

  @Test func `a master that was made a replica is left`() async throws {
    let group = try await RedisGroup.watched()
    try await group.withClient(configuration(group)) { client, reactor in
      try await eventually(on: reactor) {
        try await client.set(bytes("a"), bytes("1"), lifetimeMs: 60_000, on: reactor)
      }
      // By somebody who ends no connections, as a Sentinel would do.
      _ = try await group.ask(6002, "REPLICAOF NO ONE", on: reactor)
      _ = try await group.ask(6001, "REPLICAOF \(group.host) 6002", on: reactor)
      _ = try await group.ask(6003, "SENTINEL REMOVE cache", on: reactor)
      _ = try await group.ask(6003, "SENTINEL MONITOR cache \(group.host) 6002 1", on: reactor)
      await #expect(throws: RedisError.self) {
        try await client.set(bytes("b"), bytes("2"), lifetimeMs: 60_000, on: reactor)
      }
      try await eventually(on: reactor) {
        try await client.set(bytes("b"), bytes("3"), lifetimeMs: 60_000, on: reactor)
      }
      #expect(try await group.ask(6002, "GET b", on: reactor) == .string(bytes("3")))
    }
  }

  @Test func `a Sentinel that names who is no master does not hide what the others know`() async throws {
    let group = try await RedisGroup.watched()
    // One names a server that is not there, the other one itself.
    for (port, named) in [(6004, 6998), (6005, 6005)] {
      try group.start(
        port: port, "--sentinel", configuration: "sentinel monitor cache \(group.host) \(named) 9\\n")
    }
    var configuration = configuration(group)
    configuration.sentinels = [6004, 6005, 6003].map(group.endpoint)
    try await group.withClient(configuration) { client, reactor in
      for attempt in 1...200 {
        if (try? await client.set(bytes("a"), bytes("1"), lifetimeMs: 60_000, on: reactor)) != nil { break }
        #expect(attempt < 200, "the master was not found")
        await reactor.sleep(for: .milliseconds(50))
      }
      let stored = try await group.ask(6001, "GET a", on: reactor)
      #expect(stored == .string(bytes("1")))
    }
  }

  @Test func `what no Sentinel knows is said with each one's reason`() async throws {
    let group = try await RedisGroup.watched()
    var other = configuration(group)
    other.master = "other"
    let (configuration, tools) = (other, try Tools())
    try await onReactor { reactor in
      let locator = RedisLocator(configuration, tools.resolver)
      do {
        _ = try await locator.connect(on: reactor)
        Issue.record("there is no such master")
      } catch {
        let text = "\(error)"
        #expect(text.contains("no Sentinel knows the master other"))
        #expect(text.contains("\(group.endpoint(6999)): ") && text.contains("it knows no master of this name"))
      }
    }
  }
}
