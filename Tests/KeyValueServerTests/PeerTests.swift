import Basics
import HTTP
import HTTPSyntax
import Reactor
import TestSupport
import Testing

@testable import KeyValueServer

@Suite("Several servers", .timeLimit(.minutes(5))) struct PeerTests {
  /// Two servers of one store that know of each other.
  private static func start(
    in folder: String, on reactor: isolated Reactor
  ) throws -> (first: ServerHarness, second: ServerHarness) {
    // A name leads to an address only when somebody listens there.
    let first = try ServerHarness.start("server-1", in: folder, on: reactor)
    let second = try ServerHarness.start(
      "server-2", in: folder, peers: [KeyValuePeer(name: "server-1", address: first.address)], on: reactor)
    return (first, second)
  }

  @Test("a partition goes to the server that is asked for it when nobody asks the other one any more")
  func handover() async throws {
    let folder = TemporaryFolder()
    try await onReactor { reactor in
      let (first, second) = try Self.start(in: folder.path, on: reactor)
      try await first.put("a", "1", on: reactor)
      // The first one is not asked any more; the second waits until that is sure.
      #expect(try await second.send(.get, "/get/a", on: reactor).text.hasPrefix(#"{"value":1,"version":1,"#))
      try await second.put("a", "2", on: reactor)
      // The first does not know where the second is, but its name.
      let answer = try await first.send(.get, "/get/a", on: reactor)
      #expect(answer.status == 503 && answer.field("retry-after") == "1" && answer.text.contains("'server-2'"))
      #expect(try await first.send(.get, "/get/a?version=1", on: reactor).status == 503)
      #expect(try await first.send(.get, "/history/a", on: reactor).status == 503)
      #expect(try await first.send(.get, "/keys", on: reactor).status == 503)
      #expect(try await first.send(.delete, "/delete/a", on: reactor).status == 503)
      #expect(try await first.send(.get, "/watch", on: reactor).status == 503)
      await second.stop(on: reactor)
      try await first.put("a", "3", on: reactor)
      #expect(try await first.send(.get, "/get/a", on: reactor).text.contains(#""version":3"#))
      await first.stop(on: reactor)
    }
  }

  private final class Asked {
    var isOver = false
  }

  @Test("while both are asked, the one who has it keeps it and answers, and nobody gets an old value or a 404")
  func disagreement() async throws {
    let folder = TemporaryFolder()
    try await onReactor { reactor in
      let (first, second) = try Self.start(in: folder.path, on: reactor)
      try await first.put("a", "0", on: reactor)
      let asked = Asked()
      let asking = Task.immediate(executorPreference: reactor.queue) {
        var count = 0
        while !asked.isOver {
          count += 1
          try await first.put("a", "\(count)", on: reactor)
        }
        return count
      }
      for _ in 0..<2 {
        let answer = try await second.send(.get, "/get/a", on: reactor)
        #expect(answer.status == 503 && answer.text.contains("'server-1'"), "\(answer.text)")
      }
      asked.isOver = true
      let count = try await asking.value
      #expect(count > 10)
      #expect(try await second.send(.get, "/get/a", on: reactor).text.hasPrefix(#"{"value":\#(count),"#))
      await second.stop(on: reactor)
      await first.stop(on: reactor)
    }
  }

  @Test("a server that stops lets others have what nobody asks it for, also while a client is slow with its answer")
  func stopping() async throws {
    let folder = TemporaryFolder()
    try await onReactor { reactor in
      let (first, second) = try Self.start(in: folder.path, on: reactor)
      for number in 0..<8 { try await first.put("\(number)", "1", on: reactor) }
      // A request that does not come to its end keeps the server from its own.
      let fd = try await Connector.connect(
        to: first.address, until: reactor.now + .seconds(20 as UInt64), on: reactor)
      let slow = try Stream(adopting: fd, on: reactor)
      slow.write(Array("PUT /put/0 HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n{\"val".utf8), on: reactor)
      await slow.drain(on: reactor)
      let stop = Task.immediate(executorPreference: reactor.queue) { await first.stop(on: reactor) }
      // Nobody takes what it has, until it is given up.
      while await first.service.store.holders(on: reactor).contains(where: { $0 != nil }) {
        await reactor.sleep(for: .milliseconds(5))
      }
      #expect(try await second.send(.get, "/get/1", on: reactor).status == 200)
      slow.write(Array("ue\":2}".utf8), on: reactor)
      slow.flush(on: reactor)
      while await slow.read(until: reactor.now + .seconds(20 as UInt64), on: reactor) == .bytes {}
      let answer = String(decoding: slow.input.bytes(0..<slow.input.count), as: UTF8.self)
      #expect(answer.hasPrefix("HTTP/1.1 503 ") && answer.contains("This server stops."), "\(answer)")
      slow.close(on: reactor)
      await stop.value
      await second.stop(on: reactor)
    }
  }

  @Test("each server tells of all, and what another one says of itself") func figures() async throws {
    let folder = TemporaryFolder()
    try await onReactor { reactor in
      let (first, second) = try Self.start(in: folder.path, on: reactor)
      for number in 0..<12 { try await first.put("\(number)", "1", on: reactor) }
      let servers = try await second.send(.get, "/servers", on: reactor).text
      #expect(servers.contains(#""count":2"#) && servers.contains(#""partition_count":4"#), "\(servers)")
      #expect(servers.contains(#""name":"server-1""#) && servers.contains(#""holds":[0,1,2,3]"#))
      #expect(servers.ranges(of: #""state":"up""#).count == 2)
      let cache = try await second.send(.get, "/cache/stats?server=server-1", on: reactor).text
      #expect(
        cache.hasPrefix(
          #"{"server":"server-1","current_size":12,"max_size":100,"is_full":false,"expiration_minutes":30,"#),
        "\(cache)")
      let database = try await second.send(.get, "/db/stats?server=server-1", on: reactor).text
      #expect(database.hasPrefix(#"{"server":"server-1","total_keys":12,"total_versions":12,"file_size_bytes":"#))
      #expect(try await second.send(.get, "/db/stats", on: reactor).text.contains(#""total_keys":0"#))
      let unknown = try await second.send(.get, "/db/stats?server=server-3", on: reactor)
      #expect(unknown.status == 400 && unknown.text.contains("server-2, server-1"))
      let insights = try await second.send(.get, "/insights", on: reactor).text
      #expect(insights.hasPrefix(#"{"total_requests":12,"avg_latency_ms":"#), "\(insights)")
      #expect(insights.contains(#""hot_spots":["server-1"]"#) && insights.contains(#""memory_bytes":"#))
      await first.stop(on: reactor)
      let alone = try await second.send(.get, "/servers", on: reactor).text
      #expect(alone.contains(#""state":"unreachable""#) && alone.contains(#""partitions":[0,1,2,3]"#))
      #expect(try await second.send(.get, "/cache/stats?server=server-1", on: reactor).status == 503)
      #expect(try await second.send(.get, "/insights", on: reactor).text.contains(#""state":"unreachable""#))
      await second.stop(on: reactor)
    }
  }

  @Test("who stands out is half as much again above the mean") func standouts() {
    #expect(Standouts.names([("a", 10), ("b", 10), ("c", 10)]).isEmpty)
    #expect(Standouts.names([("a", 100), ("b", 10), ("c", 10)]) == ["a"])
    #expect(Standouts.names([("a", 15), ("b", 10), ("c", 10)]).isEmpty)
    #expect(Standouts.names([]).isEmpty)
    let figures = ServerFigures(requests: 3, averageLatencyMs: 0.5, cpuPercent: 12.25, memoryBytes: 1 << 30)
    var json = JSONWriter()
    json.object { figures.write(&$0) }
    #expect(ServerFigures(json: json.bytes) == figures)
    #expect(ServerFigures(json: Array("{}".utf8)) == nil)
  }

  @Test("the id of an event is read as it is written, and nothing else is") func positions() {
    let position = WatchPosition([0: 17, 3: 4])
    #expect(position.text == "0:17,3:4" && WatchPosition("0:17,3:4") == position)
    for text in [
      "", "0", "0:", ":1", "0:-1", "0:1,", "64:1", "-1:1", "0:1:2", "a:b", "9223372036854775807:1",
      "0:9223372036854775808",
    ] {
      #expect(WatchPosition(text) == nil, "\(text)")
    }
  }
}
