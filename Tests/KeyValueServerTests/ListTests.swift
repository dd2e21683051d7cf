import Basics
import HTTP
import HTTPSyntax
import Reactor
import TestSupport
import Testing

@testable import KeyValueServer

@Suite("Lists, batches and news", .timeLimit(.minutes(5))) struct ListTests {
  private static func keys(_ text: String) -> [String] {
    text.matches(of: /"key":"([^"]*)"/).map { String($0.1) }
  }

  /// Each change that was told of: its key and version.
  private static func changes(_ text: String) -> [String] {
    text.matches(of: /"key":"([^"]*)","version":([0-9]+)/).map { "\($0.1) \($0.2)" }
  }

  @Test("keys come in the order of their bytes over all partitions, page by page") func pages() async throws {
    try await withServer { server, reactor in
      var all: [String] = []
      for number in 0..<60 {
        let key = "k\(number * 7919 % 1000)"
        all.append(key)
        try await server.put(key, "1", on: reactor)
      }
      try await server.put("other", "1", on: reactor)
      all.sort()
      #expect(Self.keys(try await server.send(.get, "/keys?prefix=k", on: reactor).text) == all)
      var (seen, cursor, pages): ([String], String?, Int) = ([], nil, 0)
      repeat {
        let after = cursor.map { "&cursor=\($0)" } ?? ""
        let answer = try await server.send(.get, "/keys?prefix=k&limit=7\(after)", on: reactor).text
        seen += Self.keys(answer)
        cursor = answer.firstMatch(of: /"next_cursor":"([^"]*)"/).map { String($0.1) }
        pages += 1
      } while cursor != nil
      #expect(seen == all && pages == 9)
      var parts: [String] = []
      for partition in 0..<4 {
        parts += Self.keys(try await server.send(.get, "/keys?prefix=k&partition=\(partition)", on: reactor).text)
      }
      #expect(parts.sorted() == all)
      #expect(try await server.send(.get, "/keys?partition=4", on: reactor).status == 400)
      #expect(try await server.send(.get, "/keys?cursor=!", on: reactor).status == 400)
    }
  }

  @Test("a batch is done whole or not at all, and only within a partition") func batches() async throws {
    try await withServer { server, reactor in
      func batch(_ operations: String, fields: [(name: String, value: String)] = []) async throws -> HTTPClientResponse
      {
        try await server.send(.post, "/batch/%7Bt%7D", #"{"operations":[\#(operations)]}"#, fields: fields, on: reactor)
      }
      let (one, two) = (#"{"op":"put","key":"{t}1","value":1}"#, #"{"op":"put","key":"{t}2","value":2,"if_version":0}"#)
      let first = try await batch("\(one),\(two)", fields: [("Idempotency-Key", "b")])
      #expect(first.status == 200 && Self.keys(first.text) == ["{t}1", "{t}2"])
      let again = try await batch("\(one),\(two)", fields: [("Idempotency-Key", "b")])
      #expect(again.text == first.text && again.field("idempotency-replayed") == "true")
      // The second is refused, so the first is not done either.
      let refused = try await batch("\(one),\(two)")
      #expect(refused.status == 412 && refused.text.contains("operation 1") && refused.text.contains(#""version":1"#))
      #expect(try await server.send(.get, "/get/%7Bt%7D1", on: reactor).text.contains(#""version":1"#))
      let deletion = #"{"op":"delete","key":"{t}2","if_version":1}"#
      #expect(try await batch("\(one),\(deletion)").status == 200)
      #expect(try await server.send(.get, "/get/%7Bt%7D2", on: reactor).status == 404)
      #expect(try await batch(deletion).status == 412)
      #expect(try await batch(#"{"op":"delete","key":"{t}2"}"#).status == 404)
      let strays = (0..<8).map { #"{"op":"put","key":"\#($0)","value":1}"# }.joined(separator: ",")
      let wrong = [
        "", "\(one),\(one)", strays, #"{"op":"get","key":"{t}1"}"#, #"{"op":"put","key":"{t}1"}"#,
        #"{"op":"delete","key":"{t}1","value":1}"#, #"{"op":"put","key":"","value":1}"#,
        #"{"op":"put","key":"{t}1","value":1,"if_version":-1}"#, #"{"op":"put","key":"{t}1","value":1,"ttl":0}"#,
        #"{"op":"put","key":"{t}1","value":1,"color":"red"}"#, Array(repeating: one, count: 101).joined(separator: ","),
      ]
      for operations in wrong { #expect(try await batch(operations).status == 422, "\(operations.prefix(60))") }
    }
  }

  @Test("who watches hears of each change once, goes on where it was, and is told when something is not known any more")
  func watching() async throws {
    try await withServer(partitions: 2, maxVersions: 2) { server, reactor in
      let events = try await EventReader(server.address, "/watch?prefix=a", on: reactor)
      let begin = await events.read(until: "id: 0:0,1:0\n\n", on: reactor)
      #expect(begin.contains("Content-Type: text/event-stream"))
      for number in 1...3 { try await server.put("a\(number)", "{\"n\":\(number)}", on: reactor) }
      try await server.put("b", "4", on: reactor)
      #expect(try await server.send(.delete, "/delete/a1", on: reactor).status == 200)
      let told = await events.read(until: #""revision":"#, times: 4, on: reactor)
      #expect(told.ranges(of: "event: put").count == 3 && told.ranges(of: "event: delete").count == 1)
      #expect(!told.contains(#""key":"b""#))
      #expect(told.contains(#""key":"a2","version":1,"#) && told.contains(#""value":{"n":2}"#))
      let ids = told.matches(of: /id: ([0-9:,]+)\nevent/).map { String($0.1) }
      events.close(on: reactor)
      // From behind the second event on.
      let resumed = try await EventReader(
        server.address, "/watch?prefix=a", fields: "Last-Event-ID: \(ids[1])\r\n", on: reactor)
      let rest = await resumed.read(until: #""revision":"#, times: 2, on: reactor)
      #expect(!rest.contains("event: reset"), "\(rest)")
      // An order is promised within a partition only.
      #expect(Self.changes(rest).sorted() == Self.changes(told).suffix(2).sorted(), "\(told)\n\(rest)")
      resumed.close(on: reactor)
      // Of three versions the first is not kept any more.
      for _ in 0..<2 { try await server.put("a2", "5", on: reactor) }
      let late = try await EventReader(
        server.address, "/watch?prefix=a", fields: "Last-Event-ID: 0:0,1:0\r\n", on: reactor)
      #expect(await late.read(until: "event: reset", on: reactor).contains("data: {\"partition\":"))
      try await server.put("a9", "6", on: reactor)
      #expect(await late.read(until: #""key":"a9""#, on: reactor).contains("event: put"))
      late.close(on: reactor)
      for target in ["/watch?since=x", "/watch?since=0:x", "/watch?since=0:1,0:2", "/watch?partition=2"] {
        #expect(try await server.send(.get, target, on: reactor).status == 400, "\(target)")
      }
    }
  }

  @Test("who is slow with what it is told does not take back a partition that has gone to another server")
  func slowWatcher() async throws {
    try await withServer(partitions: 1) { server, reactor in
      let value = "\"" + String(repeating: "v", count: 1_000_000) + "\""
      for number in 0..<16 { try await server.put("k\(number)", value, on: reactor) }
      let events = try await EventReader(server.address, "/watch?since=0", on: reactor)
      _ = await events.read(until: "event: put", on: reactor)
      #expect(await server.service.store.leave(0, unusedFor: .milliseconds(0), on: reactor))
      let told = await events.read(until: "\r\n0\r\n\r\n", on: reactor)
      #expect(told.hasSuffix("\r\n0\r\n\r\n") && told.ranges(of: "event: put").count < 16)
      #expect(!server.service.store.holds(0))
      events.close(on: reactor)
    }
  }

  @Test("what happens while it is told is told too, and a stop ends whoever watches") func watchingMuch() async throws {
    try await withServer(partitions: 1) { server, reactor in
      let events = try await EventReader(server.address, "/watch", on: reactor)
      _ = await events.read(until: "id: 0:0\n\n", on: reactor)
      let writers = (0..<8).map { writer in
        Task.immediate(executorPreference: reactor.queue) {
          for number in 0..<25 { try await server.put("k\(writer)", "\(number)", on: reactor) }
        }
      }
      for writer in writers { try await writer.value }
      let told = await events.read(until: "event: put", times: 200, on: reactor)
      let revisions = told.matches(of: /"revision":([0-9]+)/).compactMap { Int($0.1) }
      #expect(revisions == Array(1...200))
      server.service.stop(on: reactor)
      #expect(await events.read(until: "\r\n0\r\n\r\n", on: reactor).hasSuffix("\r\n0\r\n\r\n"))
      events.close(on: reactor)
    }
  }
}
