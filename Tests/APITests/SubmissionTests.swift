import Basics
import HTTP
import HTTPSyntax
import Hashing
import Reactor
import TaskQueue
import Tasks
import TestSupport
import Testing
import Tokens

@testable import API

// One after the other with all others, which wait for answers that a busy machine would delay.
extension APITests {
  @Suite("What clients want of tasks", .timeLimit(.minutes(5))) struct SubmissionTests {
    private static let body = #"{"string":"x"}"#

    @Test("a request with a name is one task however often it is sent, and the name stands for no other request")
    func idempotency() async throws {
      try await onReactor { reactor in
        let api = try await APIHarness.start("idempotency", redis: nil, on: reactor)
        func send(
          _ name: String, _ target: String = "/hash/md5", _ body: String = Self.body, on reactor: isolated Reactor
        ) async throws -> HTTPClientResponse {
          try await api.send(.post, target, body, fields: [("Idempotency-Key", name)], on: reactor)
        }
        let first = try await send("a", on: reactor)
        #expect(first.status == 202 && first.field("location") == "/task/1")
        #expect(first.field("idempotency-replayed") == nil)
        // Another name is another task, however alike; without any it is found by what it is.
        #expect(try await send("b", on: reactor).field("location") == "/task/2")
        #expect(try await api.send(.post, "/hash/md5", Self.body, on: reactor).field("location") == "/task/3")
        try await api.work(on: reactor)
        for name in ["a", "\"a\""] {
          let again = try await send(name, on: reactor)
          #expect(again.status == 202 && again.field("location") == "/task/1")
          #expect(again.field("idempotency-replayed") == "true" && again.text.contains(#""status":"completed""#))
        }
        #expect(try await send("a", "/hash/md5?wait=5", on: reactor).status == 200)
        #expect(try await send("a", "/hash/md5?priority=high", on: reactor).status == 422)
        #expect(try await send("a", "/hash/sha256", on: reactor).status == 422)
        let other = try await send("a", "/hash/md5", #"{"string":"y"}"#, on: reactor)
        #expect(other.status == 422 && other.text.contains(#""field":"Idempotency-Key""#))
        for name in ["", "\"\"", "a b", "é", String(repeating: "x", count: 256)] {
          #expect(try await send(name, on: reactor).status == 400, "\(name)")
        }
        let twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
        let two = try await api.send(.post, "/hash/md5", Self.body, fields: twice, on: reactor)
        #expect(two.status == 400 && two.text.contains("The field Idempotency-Key is repeated."))
        #expect(try await send("c", "/hash/md5?wait=1&wait=2", on: reactor).status == 400)
        // Secrets, too: what is kept of them is a code that tells nothing without the system's key.
        let secret = try await send("s", "/hash/argon2", on: reactor)
        #expect(try await send("s", "/hash/argon2", on: reactor).field("location") == secret.field("location"))
        #expect(try await send("s", "/hash/argon2", #"{"string":"z"}"#, on: reactor).status == 422)
        await api.stop(on: reactor)
      }
    }

    @Test("priority, time and attempts are taken from the query, and what they cannot be is said") func options()
      async throws
    {
      try await onReactor { reactor in
        let api = try await APIHarness.start("options", redis: nil, on: reactor)
        let queued = try await api.send(.post, "/hash/md5?priority=high&max_attempts=7", Self.body, on: reactor)
        #expect(queued.status == 202)
        #expect(try await api.send(.get, "/task/1", on: reactor).text.contains(#""priority":"high""#))
        func number(_ sql: String, on reactor: isolated Reactor) async throws -> Int64 {
          try await api.number(sql, on: reactor)
        }
        #expect(try await number("select max_attempts from millrace.task where id = 1", on: reactor) == 7)
        #expect(try await number("select lane from millrace.ready where id = 1", on: reactor) == 0)
        let later = String(
          decoding: Timestamp(microseconds: Timestamp.current().microseconds + 60_000_000).rfc3339, as: UTF8.self)
        for _ in 0..<2 {
          // What is wanted later is a task of its own, and no cached result.
          #expect(try await api.send(.post, "/hash/md5?run_at=\(later)", Self.body, on: reactor).status == 202)
        }
        #expect(try await number("select count(*) from millrace.scheduled", on: reactor) == 2)
        // What should have been run long ago is not lost.
        for time in ["0000-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"] {
          #expect(try await api.send(.post, "/hash/md5?run_at=\(time)", Self.body, on: reactor).status == 202)
        }
        let due = "select count(*) from millrace.scheduled where run_at <= now()"
        #expect(try await number(due, on: reactor) == 3)
        for query in [
          "priority=urgent", "priority=", "run_at=0000-00-00T00:00:00Z", "run_at=tomorrow",
          "run_at=2099-01-01T00:00:00Z", "max_attempts=0",
          "max_attempts=26", "max_attempts=x",
        ] {
          let answer = try await api.send(.post, "/hash/md5?\(query)", Self.body, on: reactor)
          #expect(answer.status == 400 && answer.text.contains(query.prefix { $0 != "=" }), "\(query)")
        }
        await api.stop(on: reactor)
      }
    }

    @Test("a batch is answered in the order in which it was sent, part from the cache and part queued") func batch()
      async throws
    {
      try await onReactor { reactor in
        let api = try await APIHarness.start("batch", redis: nil, on: reactor)
        _ = try await api.send(.post, "/hash/sha256", Self.body, on: reactor)
        try await api.work(on: reactor)
        let strings = (0..<998).map { "\"s\($0)\"" }.joined(separator: ",")
        let body = #"{"algorithm":"sha256","strings":["x",\#(strings),"s0"]}"#
        let answer = try await api.send(.post, "/hash/batch", body, on: reactor)
        #expect(answer.status == 202)
        #expect(answer.text.hasPrefix(#"{"tasks":[{"result":{"original_string":"x","sha256_hash":"2d711642"#))
        let ids = answer.text.components(separatedBy: "\"task_id\":").dropFirst().compactMap {
          Int64($0.prefix { $0.isNumber })
        }
        #expect(ids.count == 999 && ids.first == ids.last && Set(ids).count == 998)
        try await api.work(on: reactor)
        try await api.work(on: reactor)
        let results = try await api.send(.post, "/hash/batch", body, on: reactor)
        #expect(!results.text.contains("task_id") && results.text.components(separatedBy: "\"result\"").count == 1001)
        for (body, field) in [
          (#"{"algorithm":"sha256"}"#, "strings"), (#"{"strings":["x"]}"#, "algorithm"),
          (#"{"algorithm":"sha1","strings":["x"]}"#, "algorithm"), (#"{"algorithm":"md5","strings":[]}"#, "strings"),
          (#"{"algorithm":"md5","strings":[1]}"#, "strings"),
          (#"{"algorithm":"md5","strings":["x"\#(String(repeating: ",\"x\"", count: 1000))]}"#, "strings"),
        ] {
          let answer = try await api.send(.post, "/hash/batch", body, on: reactor)
          #expect(answer.status == 422 && answer.text.contains(field), "\(answer.text)")
        }
        await api.stop(on: reactor)
      }
    }

    @Test("a password is verified by a worker, and what is no hash or costs too much is refused before") func verify()
      async throws
    {
      try await onReactor { reactor in
        let api = try await APIHarness.start("verify", redis: APITests.redis, { $0.parameters = testCost }, on: reactor)
        let hash = String(
          decoding: try Argon2.hash(Array("s3cret".utf8), parameters: testCost.argon2), as: UTF8.self)
        for (password, isValid) in [("s3cret", true), ("S3cret", false)] {
          let body = #"{"string":"\#(password)","hash":"\#(hash)"}"#
          let asking = Task.immediate(executorPreference: reactor.queue) {
            try await api.send(.post, "/hash/argon2/verify", body, on: reactor)
          }
          #expect(await api.clientsWaiting(on: reactor) { $0 == 1 })
          try await api.work(on: reactor)
          let answer = try await asking.value
          #expect(answer.status == 200 && answer.text == #"{"valid":\#(isValid)}"#)
        }
        // Of neither is anything left, and the second was told to whoever waited for it.
        #expect(try await api.number("select count(*) from millrace.task where payload is not null", on: reactor) == 0)
        for (body, field) in [
          (#"{"string":"x"}"#, "hash"), (#"{"hash":"\#(hash)"}"#, "string"), (#"{"string":"x","hash":"y"}"#, "hash"),
          (#"{"string":"x","hash":"\#(hash.replacing("m=64", with: "m=65"))"}"#, "hash"),
          (#"{"string":"x","hash":"\#(hash.replacing("t=1", with: "t=4000000000"))"}"#, "hash"),
        ] {
          let answer = try await api.send(.post, "/hash/argon2/verify", body, on: reactor)
          #expect(answer.status == 422 && answer.text.contains(#""field":"\#(field)""#), "\(answer.text)")
        }
        await api.stop(on: reactor)
      }
    }

    @Test("an admin is told what waits, for how long, and who works on what") func stats() async throws {
      try await onReactor { reactor in
        let api = try await APIHarness.start("stats", redis: nil, { $0.trustsLoopback = true }, on: reactor)
        for query in ["", "?priority=low"] {
          let body = #"{"string":"x\#(query)"}"#
          #expect(try await api.send(.post, "/hash/sha256\(query)", body, on: reactor).status == 202)
        }
        let text = try await api.send(.get, "/stats", on: reactor).text
        #expect(
          text.hasPrefix(#"{"queues":{"high":0,"normal":1,"low":1},"queued":2,"scheduled":0,"running":0,"#), "\(text)")
        #expect(
          text.contains(#"{"type":"md5","queued":0,"oldest_seconds":0.0,"paused":false,"limit":null}"#), "\(text)")
        #expect(
          text.contains(#"{"type":"sha256","queued":2,"#) && text.contains(#""name":"test","wanted":"run""#), "\(text)")
        try await api.work(on: reactor)
        let after = try await api.send(.get, "/stats", on: reactor).text
        #expect(after.contains(#""queued":0,"#) && after.contains(#""completed_lately":{"tasks":2,"#), "\(after)")
        await api.stop(on: reactor)
      }
    }

    @Test("a long task is queued for those who may, and what it cannot be is said") func longTask() async throws {
      let folder = TemporaryFolder()
      let path = folder.path + "/token.keys"
      try TokenKeys.new(.hs256).store(path: path)
      let tokens = try TokenAuthority(keysAt: path)
      try await onReactor { reactor in
        let api = try await APIHarness.start("long", redis: nil, { $0.tokens = tokens }, on: reactor)
        let now = Timestamp.current().seconds
        let token = try #require(tokens.token(for: "ann", scopes: [], lifetimeSeconds: 60, at: now))
        let fields = [(name: "Authorization", value: "Bearer \(String(decoding: token, as: UTF8.self))")]
        func send(_ body: String, _ query: String = "", on reactor: isolated Reactor) async throws -> HTTPClientResponse
        {
          try await api.send(.post, "/longtask\(query)", body, fields: fields, on: reactor)
        }
        let queued = try await send(#"{"task_type":"io_intensive","duration":0.01}"#, "?priority=high", on: reactor)
        #expect(queued.status == 202 && queued.field("location") == "/task/1")
        #expect(queued.text == #"{"status":"Task queued","priority":"high","task_id":1,"gateway_id":"api-1"}"#)
        #expect(try await send(#"{"task":"complex_calculation","duration":0}"#, on: reactor).status == 202)
        try await api.work(on: reactor)
        // Two are two, however alike they are, and whether one is over or not.
        for id in 3...4 {
          let again = try await send(#"{"task":"complex_calculation","duration":0}"#, on: reactor)
          #expect(again.status == 202 && again.field("location") == "/task/\(id)")
        }
        let done = try await api.send(.get, "/task/1", on: reactor).text
        #expect(done.contains(#""type":"longtask","status":"completed","priority":"high""#), "\(done)")
        #expect(
          done.contains(#""result":{"task_type":"io_intensive","steps":0,"execution_time_seconds":0."#), "\(done)")
        #expect(
          try await api.send(.get, "/task/2", on: reactor).text.contains(#""result":{"task":"complex_calculation""#))
        for (body, field) in [
          ("{}", "task_type"), (#"{"task_type":"lazy"}"#, "task_type"),
          (#"{"task_type":"default","duration":601}"#, "duration"),
          (#"{"task_type":"default","duration":-1}"#, "duration"), (#"{"task_type":"default","fail":1}"#, "fail"),
          (#"{"task":""}"#, "task"), (#"{"task":1}"#, "task"),
        ] {
          let answer = try await send(body, on: reactor)
          #expect(answer.status == 422 && answer.text.contains(#""field":"\#(field)""#), "\(answer.text)")
        }
        #expect(try await send("x", on: reactor).status == 400)
        #expect(try await api.send(.get, "/hashes", on: reactor).text == #"{"items":[],"next_cursor":null}"#)
        await api.stop(on: reactor)
      }
    }
  }
}
