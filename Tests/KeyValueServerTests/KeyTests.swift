import Basics
import HTTP
import HTTPSyntax
import Reactor
import TestSupport
import Testing

@testable import KeyValueServer

/// What stands in the wire contract, over HTTP.
@Suite("Keys over HTTP", .timeLimit(.minutes(5))) struct KeyTests {
  private static let json = [(name: "Content-Type", value: "application/json")]

  @Test("a value is put by PUT or POST, each is a version more, and all of them can be read") func versions()
    async throws
  {
    try await withServer { server, reactor in
      let first = try await server.send(.put, "/put/a", #"{"value":{"x":1}}"#, fields: Self.json, on: reactor)
      #expect(
        first.text
          == #"{"operation":"create","key":"a","version":1,"total_versions":1,"server_used":"server-1"}"#)
      #expect(first.field("etag") == "\"1\"" && first.field("x-server-used") == "server-1")
      let second = try await server.send(.post, "/put/a", "{\"value\":[1,\r\n 2]}", on: reactor)
      #expect(
        second.text.hasPrefix(
          #"{"operation":"update","key":"a","new_version":2,"previous_version":1,"total_versions":2,"#))
      let newest = try await server.send(.get, "/get/a", on: reactor)
      // In one line, for events and lines of files.
      #expect(newest.text.hasPrefix(#"{"value":[1,   2],"version":2,"timestamp":"20"#), "\(newest.text)")
      #expect(newest.text.contains(#""source":"cache","server_used":"server-1"}"#) && newest.field("etag") == "\"2\"")
      let old = try await server.send(.get, "/get/a?version=1", on: reactor)
      #expect(old.text.hasPrefix(#"{"value":{"x":1},"version":1,"#) && old.text.contains(#""source":"database""#))
      // An old version is not what is newest now.
      #expect(try await server.send(.get, "/get/a", on: reactor).text.contains(#""version":2"#))
      let known = try await server.send(
        .get, "/get/a", fields: [("If-None-Match", "\"1\", W/\"2\"")], on: reactor)
      #expect(known.status == 304 && known.body.isEmpty)
      let history = try await server.send(.get, "/history/a", on: reactor)
      #expect(
        history.text.hasPrefix(#"{"key":"a","versions":[{"version":2,"#) && history.text.contains(#""value":{"x":1}"#))
      let page = try await server.send(.get, "/history/a?limit=1", on: reactor)
      #expect(page.text.contains(#""next_cursor":"2""#))
      let rest = try await server.send(.get, "/history/a?limit=1&cursor=2", on: reactor)
      #expect(rest.text.contains(#"[{"version":1,"#) && rest.text.contains(#""next_cursor":null"#))
    }
  }

  @Test("a deletion is a version, a purge takes those before it, and what is not kept any more is gone, not missing")
  func deleting() async throws {
    try await withServer(maxVersions: 3) { server, reactor in
      #expect(try await server.send(.get, "/get/a", on: reactor).status == 404)
      #expect(try await server.send(.get, "/history/a", on: reactor).status == 404)
      #expect(try await server.send(.delete, "/delete/a", on: reactor).status == 404)
      for number in 1...5 { try await server.put("a", "\(number)", on: reactor) }
      for (version, status) in [(1, 410), (2, 410), (3, 200), (5, 200), (6, 404)] {
        #expect(try await server.send(.get, "/get/a?version=\(version)", on: reactor).status == status, "\(version)")
      }
      let deletion = try await server.send(.delete, "/delete/a", on: reactor)
      #expect(
        deletion.text.hasPrefix(
          #"{"operation":"delete","key":"a","new_version":6,"previous_version":5,"total_versions":3,"#))
      #expect(try await server.send(.get, "/get/a", on: reactor).status == 404)
      #expect(try await server.send(.get, "/get/a?version=6", on: reactor).status == 404)
      #expect(try await server.send(.get, "/get/a?version=5", on: reactor).text.hasPrefix(#"{"value":5,"#))
      #expect(try await server.send(.delete, "/delete/a?purge=true", on: reactor).status == 200)
      #expect(try await server.send(.get, "/get/a?version=5", on: reactor).status == 410)
      #expect(try await server.send(.delete, "/delete/a?purge=true", on: reactor).status == 404)
      let again = try await server.send(.put, "/put/a", #"{"value":1}"#, on: reactor)
      #expect(again.text.hasPrefix(#"{"operation":"create","key":"a","version":8,"total_versions":2,"#))
    }
  }

  @Test("keys are any text: what has a meaning in a path is escaped, and two texts that look alike are two keys")
  func names() async throws {
    try await withServer { server, reactor in
      let keys = ["a%2Fb", "a%3Fb", "%C3%A9", "e%CC%81", "%F0%9F%98%80", "%22%5C%0A", "a+b", "a%20b", "%7B%7D", "..a"]
      for (number, key) in keys.enumerated() { try await server.put(key, "\(number)", on: reactor) }
      for (number, key) in keys.enumerated() {
        let answer = try await server.send(.get, "/get/\(key)", on: reactor)
        #expect(answer.text.hasPrefix(#"{"value":\#(number),"version":1,"#), "\(key)")
      }
      let long = String(repeating: "%C3%A4", count: 256)
      try await server.put(long, "1", on: reactor)
      for (key, status) in [(long + "a", 400), ("%00", 400), ("%FF", 400), ("", 404), ("a/b", 404)] {
        #expect(try await server.send(.get, "/get/\(key)", on: reactor).status == status, "\(key)")
      }
    }
  }

  @Test("who says which version a key must have is told what it has if it has another one") func conditions()
    async throws
  {
    try await withServer { server, reactor in
      func put(_ field: String, _ value: String) async throws -> HTTPClientResponse {
        try await server.send(.put, "/put/a", #"{"value":"x"}"#, fields: [(field, value)], on: reactor)
      }
      #expect(try await put("If-Match", "*").status == 412)
      let absent = try await put("If-Match", "\"1\"")
      #expect(absent.status == 412 && absent.text.contains(#""current":null"#))
      #expect(try await put("If-None-Match", "*").status == 200)
      let there = try await put("If-None-Match", "*")
      #expect(there.field("content-type") == "application/problem+json")
      #expect(there.text.contains(#""status":412"#) && there.text.contains(#""current":{"version":1,"#))
      #expect(there.text.contains(#""value":"x"}"#))
      #expect(try await put("If-Match", "\"7\", \"1\"").status == 200)
      #expect(try await put("If-Match", "\"1\"").status == 412)
      // A weak tag is no proof that nothing has changed.
      #expect(try await put("If-Match", "W/\"2\"").status == 412)
      // Tags that are none of ours are still tags, whatever is in them.
      for field in ["\"a,2\"", "\"2,\", \"x\"", ",\"1\",", "\"\""] {
        #expect(try await put("If-Match", field).status == 412, "\(field)")
      }
      for field in ["2", "\"2", "", "\"2\" \"3\"", "\"2\", *", ","] {
        #expect(try await put("If-Match", field).status == 400, "\(field)")
      }
      let deletion = try await server.send(.delete, "/delete/a", fields: [("If-Match", "\"1\"")], on: reactor)
      #expect(deletion.status == 412)
      #expect(try await server.send(.get, "/get/a", on: reactor).text.contains(#""version":2"#))
    }
  }

  @Test("a request with a name is done once, however often it is sent, and another one of this name is refused")
  func repetition() async throws {
    try await withServer { server, reactor in
      func put(_ value: String, _ name: String, _ query: String = "") async throws -> HTTPClientResponse {
        try await server.send(
          .put, "/put/a\(query)", #"{"value":\#(value)}"#, fields: [("Idempotency-Key", name)], on: reactor)
      }
      let first = try await put("1", "order-1")
      #expect(first.status == 200 && first.field("idempotency-replayed") == nil)
      try await server.put("a", "2", on: reactor)
      let again = try await put("1", "\"order-1\"")
      #expect(again.text == first.text && again.field("idempotency-replayed") == "true")
      #expect(try await server.send(.get, "/get/a", on: reactor).text.contains(#""version":2"#))
      #expect(try await put("2", "order-1").status == 422)
      #expect(try await put("1", "order-1", "?ttl=5").status == 422)
      #expect(try await put("1", "").status == 400)
      #expect(try await put("1", "order-2").text.contains(#""new_version":3"#))
    }
  }

  @Test("what is no JSON, no value, or too long is refused, with what is wrong") func bodies() async throws {
    try await withServer { server, reactor in
      func status(_ body: String, _ query: String = "", type: String = "application/json") async throws -> Int {
        try await server.send(.put, "/put/a\(query)", body, fields: [("Content-Type", type)], on: reactor).status
      }
      for value in ["null", "true", "-1.5e3", "\"\"", "[]", "{\"a\":{}}"] {
        let got = try await status("{\"value\":\(value)}")
        #expect(got == 200, "\(value)")
      }
      let refused = [
        (#"{"value":}"#, 400), (#"{"value":1} x"#, 400), ("", 400), ("{}", 422), ("[]", 422),
        (#"{"value":1,"value":2}"#, 422),
      ]
      for (body, wanted) in refused {
        let got = try await status(body)
        #expect(got == wanted, "\(body)")
      }
      let plain = try await status(#"{"value":1}"#, type: "text/plain")
      #expect(plain == 415)
      for ttl in ["0", "-1", "x", "1.5", "99999999999"] {
        let got = try await status(#"{"value":1}"#, "?ttl=\(ttl)")
        #expect(got == 400, "\(ttl)")
      }
      let most = "\"" + String(repeating: "v", count: (1 << 20) - 2) + "\""
      for (value, wanted) in [(most, 200), (most + " ", 200), ("[\"x\",\(most)]", 413)] {
        let got = try await status("{\"value\":\(value)}")
        #expect(got == wanted)
      }
      for target in [
        "/get/a?version=0", "/get/a?version=x", "/get/a?version=01", "/history/a?limit=0", "/keys?limit=1001",
      ] {
        #expect(try await server.send(.get, target, on: reactor).status == 400, "\(target)")
      }
      #expect(try await server.send(.get, "/put/a", on: reactor).field("allow") == "PUT, POST, OPTIONS")
    }
  }

  @Test("a value with an end is there until then, and then it is deleted in a version of its own") func lifetimes()
    async throws
  {
    try await withServer { server, reactor in
      try await server.put("a", "1", "?ttl=1", on: reactor)
      #expect(try await server.send(.get, "/get/a", on: reactor).text.contains(#""expires_at":"20"#))
      let events = try await EventReader(server.address, "/watch?prefix=a&since=0", on: reactor)
      let told = await events.read(until: #""version":2"#, on: reactor)
      #expect(told.contains("event: delete"))
      events.close(on: reactor)
      #expect(try await server.send(.get, "/get/a", on: reactor).status == 404)
      #expect(try await server.send(.get, "/keys", on: reactor).text.hasPrefix(#"{"items":[],"#))
      #expect(try await server.send(.get, "/get/a?version=1", on: reactor).text.hasPrefix(#"{"value":1,"#))
    }
  }
}
