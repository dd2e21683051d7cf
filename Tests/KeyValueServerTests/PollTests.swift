import Basics
import HTTP
import Reactor
import TestSupport
import Testing
import VersionedStore

@testable import KeyValueServer

@Suite("What servers ask of each other's news", .timeLimit(.minutes(5))) struct PollTests {
  private static func key(of partition: Int) -> String {
    (0...).lazy.map { "k\($0)" }.first { Placement.partition(of: StoreKey($0)!, of: 4) == partition }!
  }

  /// Runs `body` beside two servers, of which the first has partitions 0, 2 and 3, and the second 1.
  private static func withServers(
    _ body: @escaping @Sendable ([ServerHarness], isolated Reactor) async throws -> Void
  ) async throws {
    let folder = TemporaryFolder()
    try await onReactor { reactor in
      let peers = ["server-1", "server-2"].map {
        KeyValuePeer(name: $0, address: SocketAddress("unix:\(folder.path)/\($0)")!)
      }
      let servers = try peers.map {
        try ServerHarness.start($0.name, in: folder.path + "/kv", peers: peers, at: $0.address, on: reactor)
      }
      for partition in 0..<4 {
        try await servers[partition == 1 ? 1 : 0].put(key(of: partition), "0", on: reactor)
      }
      try await body(servers, reactor)
      for server in servers { await server.stop(on: reactor) }
    }
  }

  @Test("for all who have seen as much another server is asked once, and not for those who have left")
  func once() async throws {
    try await Self.withServers { servers, reactor in
      let polls = servers[0].service.polls
      let readers = try await Self.watchers(20, of: servers[0], on: reactor)
      #expect(polls.count == 1)
      try await servers[1].put(Self.key(of: 1), "1", on: reactor)
      for reader in readers {
        #expect(await reader.read(until: "}\n\n", on: reactor).contains(#""partition":1,"revision":2"#))
      }
      let quick = try await Self.watchers(1, of: servers[0], fields: "Last-Event-ID: 0:1,1:1,2:1,3:1\r\n", on: reactor)
      #expect(await quick[0].read(until: "}\n\n", on: reactor).contains(#""partition":1,"revision":2"#))
      for reader in readers + quick { reader.close(on: reactor) }
      // Sooner than an answer comes that there is nothing.
      let deadline = reactor.now + .seconds(3 as UInt64)
      while polls.count > 0, reactor.now < deadline { await reactor.sleep(for: .milliseconds(5)) }
      #expect(polls.count == 0)
    }
  }

  private static func watchers(
    _ count: Int, of server: ServerHarness, fields: String = "", on reactor: isolated Reactor
  ) async throws -> [EventReader] {
    var readers: [EventReader] = []
    for _ in 0..<count {
      let reader = try await EventReader(server.address, "/watch", fields: fields, on: reactor)
      _ = await reader.read(until: "\n\n", on: reactor)
      readers.append(reader)
    }
    return readers
  }

  @Test("who watches or lists one partition at another server than has it leaves it there") func oneStays()
    async throws
  {
    try await Self.withServers { servers, reactor in
      let events = try await EventReader(servers[0].address, "/watch?partition=1", on: reactor)
      #expect(await events.read(until: "\n\n", on: reactor).contains("id: 1:1\n"))
      let listed = try await servers[0].send(.get, "/keys?partition=1", on: reactor)
      #expect(listed.text.contains(Self.key(of: 1)))
      #expect(servers[1].service.store.open == [1])
      try await servers[1].put(Self.key(of: 1), "1", on: reactor)
      #expect(await events.read(until: "}\n\n", on: reactor).contains(#""revision":2"#))
      events.close(on: reactor)
    }
  }

  @Test("who lists and watches all keys keeps no partition from going where it is asked for") func looksKeepNothing()
    async throws
  {
    try await Self.withServers { servers, reactor in
      let events = try await EventReader(servers[1].address, "/watch", on: reactor)
      _ = await events.read(until: "\n\n", on: reactor)
      var hasMoved = false
      var refused = 0
      let lists = servers.map { server in
        Task.immediate(executorPreference: reactor.queue) {
          while !hasMoved { refused += try await server.send(.get, "/keys", on: reactor).status == 200 ? 0 : 1 }
        }
      }
      defer { hasMoved = true }
      // Nobody is asked for its keys any more.
      await reactor.sleep(for: .milliseconds(150))
      try await servers[1].put(Self.key(of: 0), "1", on: reactor)
      hasMoved = true
      for list in lists { try await list.value }
      #expect(servers[1].service.store.open.contains(0) && refused <= 3, "\(refused)")
      events.close(on: reactor)
    }
  }

  @Test("what another server says of partitions that it was not asked for is not believed") func strangers() {
    func read(_ text: String) -> PeerPage? { PeerPolls.read(Array(text.utf8), of: [1, 2]) }
    let event = "event: put\ndata: {}\n\n"
    #expect(read("id: 1:7\n\(event)id: 1:7,2:3\n\n")?.position == WatchPosition([1: 7, 2: 3]))
    #expect(read("id: 1:7\n\(event)id: 1:7\n\n")?.events.map(\.revision) == [7])
    for wrong in [
      "", "id: 0:9,1:7,2:3\n\n", "id: 0:9\n\(event)id: 1:7\n\n", "id: 1:7,2:3\n\(event)id: 1:7,2:3\n\n",
      "id: x\n\(event)id: 1:7\n\n", "\(event)", "id: 1:7", "nonsense\n\n", "id: 1:7\n\(event)id:\n\n",
    ] {
      #expect(read(wrong) == nil, "\(wrong)")
    }
  }
}
