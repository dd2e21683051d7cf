import Basics
import HTTP
import HTTPSyntax
import Reactor
import TestSupport
import Testing
import VersionedStore

@testable import KeyValueServer

@Suite("What several servers tell together", .timeLimit(.minutes(5))) struct TogetherTests {
  private static let names = ["server-1", "server-2", "server-3"]

  private static func key(of partition: Int, _ number: Int) -> String {
    (0...).lazy.map { "k\(number)-\($0)" }.first { Placement.partition(of: StoreKey($0)!, of: 4) == partition }!
  }

  /// Runs `body` beside servers that all know each other, of which the first has partitions 0 and 3, and the second 1.
  private static func withServers(
    _ count: Int = 2, _ body: @escaping @Sendable ([ServerHarness], isolated Reactor) async throws -> Void
  ) async throws {
    let folder = TemporaryFolder()
    try await onReactor { reactor in
      let peers = names.prefix(count).map {
        KeyValuePeer(name: $0, address: SocketAddress("unix:\(folder.path)/\($0)")!)
      }
      let servers = try peers.map {
        try ServerHarness.start($0.name, in: folder.path + "/kv", peers: peers, at: $0.address, on: reactor)
      }
      for (partition, server) in [(0, 0), (1, 1), (3, 0)] {
        try await servers[server].put(key(of: partition, 0), "0", on: reactor)
      }
      try await body(servers, reactor)
      for server in servers { await server.stop(on: reactor) }
    }
  }

  private static func holds(_ server: ServerHarness) -> [Int] { server.service.store.open }

  @Test("keys of all servers are listed by each of them, in order and page by page, and no partition moves")
  func keys() async throws {
    try await Self.withServers { servers, reactor in
      var all = [0, 1, 3].map { Self.key(of: $0, 0) }
      for number in 1...20 {
        for (partition, server) in [(0, 0), (1, 1), (3, 0)] {
          let key = Self.key(of: partition, number)
          try await servers[server].put(key, "1", on: reactor)
          all.append(key)
        }
      }
      all.sort()
      for server in servers {
        var (seen, cursor): ([String], String?) = ([], nil)
        repeat {
          let after = cursor.map { "&cursor=\($0)" } ?? ""
          let answer = try await server.send(.get, "/keys?prefix=k&limit=7\(after)", on: reactor).text
          seen += answer.matches(of: /"key":"([^"]*)"/).map { String($0.1) }
          cursor = answer.firstMatch(of: /"next_cursor":"([^"]*)"/).map { String($0.1) }
        } while cursor != nil
        #expect(seen == all)
      }
      #expect(try await servers[1].send(.get, "/keys?limit=1000", on: reactor).text.ranges(of: #""key""#).count == 63)
      // The free one has gone to where it stands, whoever was asked.
      let free = servers[0].service.placement.owners { _ in true }[2]
      #expect(Self.holds(servers[0]) == (free == 0 ? [0, 2, 3] : [0, 3]))
      #expect(Self.holds(servers[1]) == (free == 1 ? [1, 2] : [1]))
    }
  }

  @Test("who watches one server hears of all, and goes on at another one where it was") func watching() async throws {
    try await Self.withServers { servers, reactor in
      let events = try await EventReader(servers[0].address, "/watch?prefix=k", on: reactor)
      _ = await events.read(until: "id: 0:1,1:1,2:0,3:1\n\n", on: reactor)
      for number in 1...3 {
        for (partition, server) in [(0, 0), (1, 1), (3, 0)] {
          try await servers[server].put(Self.key(of: partition, number), "{\"n\":\(number)}", on: reactor)
        }
      }
      try await servers[1].put(Self.key(of: 1, 9), "4", on: reactor)
      let told = await events.read(until: "}\n\n", times: 10, on: reactor)
      // Each partition in its order, each change once.
      for partition in [0, 1, 3] {
        let revisions = told.matches(of: /"partition":([0-9]),"revision":([0-9]+)/).compactMap {
          $0.1 == "\(partition)" ? Int($0.2) : nil
        }
        #expect(revisions == Array(2...(partition == 1 ? 5 : 4)), "\(told)")
      }
      events.close(on: reactor)
      let ids = told.matches(of: /id: ([0-9:,]+)\nevent/).map { String($0.1) }
      let resumed = try await EventReader(
        servers[1].address, "/watch?prefix=k", fields: "Last-Event-ID: \(ids[5])\r\n", on: reactor)
      let rest = await resumed.read(until: "}\n\n", times: 4, on: reactor)
      #expect(rest.ranges(of: "event: put").count == 4 && !rest.contains("reset"), "\(rest)")
      // What went on meanwhile comes, too, from both.
      try await servers[0].put(Self.key(of: 0, 10), "5", on: reactor)
      try await servers[1].put(Self.key(of: 1, 10), "6", on: reactor)
      let more = await resumed.read(until: "}\n\n", times: 6, on: reactor)
      #expect(more.contains(Self.key(of: 0, 10)) && more.contains(Self.key(of: 1, 10)))
      resumed.close(on: reactor)
      // Of a partition that the id does not name nobody knows what was seen.
      let stranger = try await EventReader(servers[0].address, "/watch?since=0:5,3:4", on: reactor)
      let resets = await stranger.read(until: "}\n\n", times: 2, on: reactor)
      #expect(resets.contains(#"data: {"partition":1}"#) && resets.contains(#"data: {"partition":2}"#), "\(resets)")
      let named = resets.matches(of: /id: ([0-9:,]+)\n/).map { String($0.1) }
      for id in named {
        let again = try await EventReader(servers[0].address, "/watch?since=\(id)", on: reactor)
        #expect(await again.read(until: "\r\n\r\n", on: reactor).hasPrefix("HTTP/1.1 200 "), "\(id)")
        again.close(on: reactor)
      }
      stranger.close(on: reactor)
    }
  }

  @Test("a flood at one server is told whole at the other, and does not keep the other one's own news waiting")
  func floods() async throws {
    try await Self.withServers { servers, reactor in
      let events = try await EventReader(servers[0].address, "/watch", on: reactor)
      _ = await events.read(until: "\n\n", on: reactor)
      let long = "\"" + String(repeating: "v", count: 100_000) + "\""
      let writers = [(1, 1), (0, 0)].map { partition, server in
        Task.immediate(executorPreference: reactor.queue) {
          for number in 0..<40 {
            try await servers[server].put(Self.key(of: partition, 1), partition == 1 ? long : "\(number)", on: reactor)
          }
        }
      }
      for writer in writers { try await writer.value }
      let told = await events.read(until: "\"revision\":41}\n\n", times: 2, on: reactor)
      for partition in 0...1 {
        let revisions = told.matches(of: /"partition":([0-9]),"revision":([0-9]+)/).compactMap {
          $0.1 == "\(partition)" ? Int($0.2) : nil
        }
        #expect(revisions == Array(2...41))
      }
      events.close(on: reactor)
    }
  }

  @Test(
    "who does not answer is nobody's excuse for a part of the keys: 503 while it has some, and others when it has none")
  func silence() async throws {
    try await Self.withServers(3) { servers, reactor in
      let events = try await EventReader(servers[0].address, "/watch", on: reactor)
      _ = await events.read(until: "\n\n", on: reactor)
      await servers[1].stop(on: reactor)
      // Whoever comes back is served from where everything is then.
      #expect(await events.read(until: "\r\n0\r\n\r\n", on: reactor).hasSuffix("\r\n0\r\n\r\n"))
      events.close(on: reactor)
      let listed = try await servers[0].send(.get, "/keys?prefix=k", on: reactor)
      #expect(listed.status == 200 && listed.text.ranges(of: #""key""#).count == 3, "\(listed.text)")
      let again = try await EventReader(servers[2].address, "/watch", on: reactor)
      #expect(await again.read(until: "\n\n", on: reactor).hasPrefix("HTTP/1.1 200 "))
      again.close(on: reactor)
      // One that holds a partition, and that nobody can ask.
      let stranger = try SQLiteEngine(
        StoreFolder(servers[0].folder, partitions: 4), holder: "server-2", maxVersions: 10)
      await servers[0].service.store.close(on: reactor)
      await servers[2].service.store.close(on: reactor)
      _ = try await stranger.open(1, on: reactor)
      for target in ["/keys", "/watch"] {
        let refused = try await servers[0].send(.get, target, on: reactor)
        #expect(refused.status == 503 && refused.text.contains("'server-2'"), "\(refused.text)")
        #expect(refused.field("retry-after") == "1")
      }
      await stranger.close(1, on: reactor)
    }
  }

  @Test("what servers ask each other is read strictly") func between() async throws {
    try await Self.withServers { servers, reactor in
      func ask(_ target: String) async throws -> HTTPClientResponse {
        try await servers[0].send(.get, "/partitions/\(target)", on: reactor)
      }
      #expect(try await ask("0,3/keys").text.ranges(of: #""key""#).count == 2)
      #expect(try await ask("0,3/events?since=0:0,3:0").text.ranges(of: "event: put").count == 1)
      #expect(try await ask("0/events").text == "id: 0:1\n\n")
      for wrong in ["4/keys", "0,0/keys", ",/keys", "x/events", "-1/keys", "0%2C4/keys"] {
        #expect(try await ask(wrong).status == 404, "\(wrong)")
      }
      for wrong in ["0/events?since=x", "0/events?wait=61", "0/events?wait=-1", "0/keys?limit=1002", "0/keys?cursor=!"]
      {
        #expect(try await ask(wrong).status == 400, "\(wrong)")
      }
      // It takes nothing away from whoever has it.
      let held = try await ask("1/keys")
      #expect(held.status == 503 && held.text.contains("'server-2'"))
    }
  }
}
