import Basics
import Glibc
import HTTP
import Hashing
import Postgres
import Reactor
import Redis
import Tasks
import TestSupport
import Testing

@testable import API
import HTTPSyntax

@Suite(.serialized, .timeLimit(.minutes(15))) struct APITests {
  static let redis = try! TestServer.redis()

  @Test func `a new hash is queued, an identical one finds it, and its result is served from L3, L1 and L2 in turn`()
    async throws
  {
    try await onReactor { reactor in
      let api = try await APIHarness.start("levels", redis: Self.redis, on: reactor)
      let body = #"{"string":"hello world"}"#
      let first = try await api.send(.post, "/hash/md5", body, on: reactor)
      #expect(first.status == 202 && first.field("location") == "/task/1")
      #expect(first.text == #"{"task_id":1,"status":"queued","message":"MD5 hash calculation queued"}"#)
      let second = try await api.send(.post, "/hash/md5", body, on: reactor)
      #expect(second.status == 202 && second.field("location") == "/task/1")
      try await api.work(on: reactor)
      for level in ["L3", "L1"] {
        let hit = try await api.send(.post, "/hash/md5", body, on: reactor)
        #expect(hit.status == 200 && hit.field("cache-status") == "millrace; hit; detail=\(level)")
        #expect(hit.field("age") == "0")
        #expect(
          hit.text.hasPrefix(
            #"{"result":{"original_string":"hello world","md5_hash":"5eb63bbbe01eeed093cb22bb8f5acdc3","#))
        #expect(hit.text.hasSuffix(#"},"source":"cache"}"#))
      }
      api.service.cache.clearMemory()
      let shared = try await api.send(.post, "/hash/md5", body, on: reactor)
      #expect(shared.field("cache-status") == "millrace; hit; detail=L2")
      // The same input under another kind is another key.
      #expect(try await api.send(.post, "/hash/sha256", body, on: reactor).status == 202)
      await api.stop(on: reactor)
    }
  }

  @Test func `a preference to wait is honoured if it is one, whatever else stands there`() async throws {
    let preferences: [(String, Int?)] = [
      ("", nil), (";", nil), (",", nil), (",;", nil), (";;wait=1", nil), ("wait", nil), ("wait=", nil),
      ("wait=x", nil), ("wait=-1", nil), ("wait=0", nil), ("wait=3", 3),
      ("respond-async, WAIT = \"5\" ;x=y", 5), ("wait=99999", 30),
    ]
    try await onReactor { reactor in
      let api = try await APIHarness.start("prefer", redis: nil, on: reactor)
      #expect(try await api.send(.post, "/hash/md5", #"{"string":"x"}"#, on: reactor).status == 202)
      try await api.work(on: reactor)
      for (prefer, seconds) in preferences {
        let answer = try await api.send(.get, "/task/1", fields: [("Prefer", prefer)], on: reactor)
        #expect(answer.status == 200)
        #expect(answer.field("preference-applied") == seconds.map { "wait=\($0)" }, "Prefer: \(prefer)")
      }
      await api.stop(on: reactor)
    }
  }

  @Test(arguments: [
    ("", 400), ("{", 400), (#"{"string":"a"} x"#, 400), (#"{"string":"\ud800"}"#, 400), ("[]", 422), ("{}", 422),
    (#"{"string":5}"#, 422), (#"{"string":null}"#, 422), (#"{"strings":["a"]}"#, 422),
  ])
  func `a body that is no JSON gives 400 and one of the wrong shape 422, as a problem with the request's id`(
    body: String, status: Int
  ) async throws {
    let name = "bad\(body.utf8.reduce(0) { ($0 &* 31 &+ Int($1)) & 0xFFFFFF })"
    try await onReactor { reactor in
      let api = try await APIHarness.start(name, redis: nil, on: reactor)
      let answer = try await api.send(.post, "/hash/md5", body, fields: [("X-Request-Id", "r-1")], on: reactor)
      #expect(answer.status == status && answer.field("content-type") == "application/problem+json")
      #expect(answer.text.contains(#""request_id":"r-1""#) && answer.field("x-request-id") == "r-1")
      if status == 422 { #expect(answer.text.contains(#""errors":[{"field":"#)) }
      await api.stop(on: reactor)
    }
  }

  @Test func `strings of every kind are hashed as their UTF-8 bytes, up to a mebibyte`() async throws {
    try await onReactor { reactor in
      let api = try await APIHarness.start("strings", redis: nil, on: reactor)
      let million = String(repeating: "x", count: 1 << 20)
      let cases = [
        ("", "d41d8cd98f00b204e9800998ecf8427e"), (#"\ud83d\ude00"#, "8cb9caa2e8e0ea9e13f5ef2ff1f8c66e"), ("\u{0}", ""),
        (million, ""), (#"a\n\"\\\u0041"#, ""),
      ]
      for (escaped, _) in cases where !escaped.contains("\u{0}") {
        #expect(try await api.send(.post, "/hash/md5", "{\"string\":\"\(escaped)\"}", on: reactor).status == 202)
      }
      try await api.work(on: reactor)
      let empty = try await api.send(.post, "/hash/md5", #"{"string":""}"#, on: reactor)
      #expect(empty.text.contains("d41d8cd98f00b204e9800998ecf8427e"))
      let face = try await api.send(.post, "/hash/md5", "{\"string\":\"😀\"}", on: reactor)
      let expected = String(decoding: MD5.digest(of: Array("😀".utf8)).hex, as: UTF8.self)
      #expect(face.status == 200 && face.text.contains(expected) && face.text.contains("😀"))
      let escapes = try await api.send(.post, "/hash/md5", #"{"string":"a\n\"\\A"}"#, on: reactor)
      #expect(escapes.status == 200 && escapes.text.contains(#""original_string":"a\n\"\\A""#))
      let large = try await api.send(.post, "/hash/md5", "{\"string\":\"\(million)\"}", on: reactor)
      #expect(large.status == 200 && large.body.count > 1 << 20)
      #expect(try await api.send(.post, "/hash/md5", "{\"string\":\"\(million)y\"}", on: reactor).status == 413)
      await api.stop(on: reactor)
    }
  }

  @Test func `I12 an argon2 input is nowhere in the clear, and gone when the task is over`() async throws {
    try await onReactor { reactor in
      let api = try await APIHarness.start("secret", redis: Self.redis, on: reactor)
      let body = #"{"string":"correct horse"}"#
      #expect(try await api.send(.post, "/hash/argon2", body, on: reactor).field("location") == "/task/1")
      #expect(try await api.send(.post, "/hash/argon2", body, on: reactor).field("location") == "/task/2")
      let inTheClear = PostgresStatement(
        "clear",
        "select count(*) from millrace.task where position('horse'::bytea in payload || coalesce(result, '')) > 0")
      #expect(try await api.inspector.execute(inTheClear, on: reactor).int64(0, 0) == 0)
      try await api.work(on: reactor)
      let task = try await api.send(.get, "/task/1", on: reactor)
      #expect(task.text.contains(#""result":{"argon2_hash":"$argon2id$v=19$"#) && !task.text.contains("horse"))
      let left = PostgresStatement("left", "select count(*) from millrace.task where payload is not null")
      #expect(try await api.inspector.execute(left, on: reactor).int64(0, 0) == 0)
      await api.stop(on: reactor)
    }
  }

  @Test func `tasks and hashes are listed newest first, page by page, and unknown ones are 404`() async throws {
    try await onReactor { reactor in
      let api = try await APIHarness.start("lists", redis: nil, on: reactor)
      for number in 0..<5 { _ = try await api.send(.post, "/hash/md5", "{\"string\":\"\(number)\"}", on: reactor) }
      try await api.work(on: reactor)
      _ = try await api.send(.post, "/hash/sha256", #"{"string":"waits"}"#, on: reactor)
      let page = try await api.send(.get, "/tasks?limit=2", on: reactor)
      #expect(page.text.hasPrefix(#"{"items":[{"id":6,"type":"sha256","status":"queued","#))
      #expect(page.field("link") == "</tasks?limit=2&cursor=5>; rel=\"next\"")
      #expect(page.text.hasSuffix(#""next_cursor":"5"}"#))
      let queued = try await api.send(.get, "/tasks?status=queued&limit=10", on: reactor)
      #expect(queued.text.contains(#""id":6"#) && !queued.text.contains(#""id":5"#))
      let hashes = try await api.send(.get, "/hashes", on: reactor)
      #expect(hashes.text.contains(#""id":5"#) && !hashes.text.contains(#""id":6"#))
      #expect(try await api.send(.get, "/tasks?status=nonsense", on: reactor).status == 400)
      #expect(try await api.send(.get, "/tasks?limit=0", on: reactor).status == 400)
      #expect(try await api.send(.get, "/task/99", on: reactor).status == 404)
      #expect(try await api.send(.get, "/task/x", on: reactor).status == 404)
      let wrong = try await api.send(.get, "/hash/md5", on: reactor)
      #expect(wrong.status == 405 && wrong.field("allow")?.contains("POST") == true)
      await api.stop(on: reactor)
    }
  }

  @Test func `a client that waits gets the task when it ends, and the 202 when it does not`() async throws {
    try await onReactor { reactor in
      let api = try await APIHarness.start("waiting", redis: nil, on: reactor)
      let late = try await api.send(.post, "/hash/md5?wait=1", #"{"string":"late"}"#, on: reactor)
      #expect(late.status == 202)
      try await api.work(on: reactor)
      try await api.workWhenTold(of: .named("md5")!, on: reactor)
      let prefer = [(name: "Prefer", value: "respond-async, wait=20")]
      let done = try await api.send(.post, "/hash/md5", #"{"string":"soon"}"#, fields: prefer, on: reactor)
      #expect(done.status == 200 && done.field("preference-applied") == "wait=20")
      #expect(done.text.hasPrefix(#"{"id":2,"type":"md5","status":"completed","#))
      #expect(try await api.send(.get, "/task/1?wait=x", on: reactor).status == 400)
      await api.stop(on: reactor)
    }
  }

  @Test func `clients that wait are told at once how their task is when the process stops`() async throws {
    try await onReactor { reactor in
      let api = try await APIHarness.start("stopping", redis: nil, on: reactor)
      #expect(try await api.send(.post, "/hash/md5", #"{"string":"x"}"#, on: reactor).status == 202)
      let stopping = Task.immediate(executorPreference: reactor.queue) {
        #expect(await api.clientsWaiting(on: reactor) { $0 > 0 })
        let began = reactor.now
        await api.stop(on: reactor)
        #expect(reactor.now.since(began) < .seconds(3 as UInt64))
      }
      let answer = try await api.send(.get, "/task/1?wait=30", on: reactor)
      #expect(answer.status == 200 && answer.text.contains(#""status":"queued""#))
      await stopping.value
    }
  }

  @Test func `a thousand clients that wait and leave are gone at once, and who still reads is answered`() async throws {
    try await onReactor { reactor in
      let api = try await APIHarness.start("leaving", redis: nil, on: reactor)
      #expect(try await api.send(.post, "/hash/md5", #"{"string":"x"}"#, on: reactor).status == 202)
      var clients: [Stream] = []
      for _ in 0..<1000 {
        let fd = try await Connector.connect(to: api.address, until: reactor.now + .seconds(5 as UInt64), on: reactor)
        let client = try Stream(adopting: fd, on: reactor)
        client.write(Array("GET /task/1?wait=30 HTTP/1.1\r\nHost: a\r\n\r\n".utf8), on: reactor)
        clients.append(client)
      }
      #expect(await api.clientsWaiting(on: reactor) { $0 == 1000 })
      for client in clients.dropFirst() { client.close(on: reactor) }
      clients[0].shutdownWriting(on: reactor)
      let deadline = reactor.now + .seconds(2 as UInt64)
      #expect(await api.clientsWaiting(within: .seconds(2 as UInt64), on: reactor) { $0 == 0 })
      while await clients[0].read(until: deadline, on: reactor) == .bytes {}
      let answer = String(decoding: clients[0].input.bytes(0..<clients[0].input.count), as: UTF8.self)
      #expect(answer.hasPrefix("HTTP/1.1 200 ") && answer.contains(#""status":"queued""#))
      clients[0].close(on: reactor)
      await api.stop(on: reactor)
    }
  }

  @Test func `where as many clients wait as may, who comes then is answered at once`() async throws {
    try await onReactor { reactor in
      let api = try await APIHarness.start("crowded", redis: nil, { $0.waitersMax = 1 }, on: reactor)
      #expect(try await api.send(.post, "/hash/md5", #"{"string":"x"}"#, on: reactor).status == 202)
      let first = Task.immediate(executorPreference: reactor.queue) {
        try await HTTPClient().send(
          HTTPClientRequest(.get, "/task/1?wait=15"), to: api.address, until: reactor.now + .seconds(20 as UInt64),
          on: reactor)
      }
      #expect(await api.clientsWaiting(on: reactor) { $0 == 1 })
      let began = reactor.now
      let shown = try await api.send(.get, "/task/1?wait=15", on: reactor)
      let queued = try await api.send(.post, "/hash/md5?wait=15", #"{"string":"y"}"#, on: reactor)
      #expect(shown.status == 200 && shown.text.contains(#""status":"queued""#) && queued.status == 202)
      #expect(reactor.now.since(began) < .seconds(10 as UInt64))
      try await api.work(on: reactor)
      #expect(try await first.value.text.contains(#""status":"completed""#))
      await api.stop(on: reactor)
    }
  }

  @Test func `news that comes while a waiting client looks for itself is not lost`() async throws {
    let (old, fresh) = try await onReactor { reactor -> (Bool, Bool) in
      let board = CompletionBoard()
      let request = HTTPRequest(
        headBytes: Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8), body: [], id: [],
        peer: SocketAddress("127.0.0.1:1")!)!
      board.completed([7])
      let moment = board.moment
      let old = await board.wait(for: 7, since: moment, request, until: reactor.now + .milliseconds(10), on: reactor)
      board.completed([7])
      return (old, await board.wait(for: 7, since: moment, request, until: .never, on: reactor))
    }
    #expect(!old && fresh)
  }

  @Test func `a task that was acknowledged stays so when PostgreSQL goes while its client waits`() async throws {
    try await onReactor { reactor in
      let api = try await APIHarness.start("lost", redis: nil, on: reactor)
      api.losePostgresOnceAClientWaits(on: reactor)
      let queued = try await api.send(.post, "/hash/md5?wait=1", #"{"string":"x"}"#, on: reactor)
      #expect(queued.status == 202 && queued.field("location") == "/task/1")
      await api.stop(on: reactor)
      let other = try await APIHarness.start("lost2", redis: nil, on: reactor)
      #expect(try await other.send(.post, "/hash/md5", #"{"string":"x"}"#, on: reactor).status == 202)
      other.losePostgresOnceAClientWaits(on: reactor)
      let task = try await other.send(.get, "/task/1?wait=1", on: reactor)
      #expect(task.status == 200 && task.text.contains(#""status":"queued""#))
      await other.stop(on: reactor)
    }
  }

  @Test func `a body is JSON by its content type whatever stands behind it`() async throws {
    try await onReactor { reactor in
      let api = try await APIHarness.start("types", redis: nil, on: reactor)
      for (type, status) in [
        ("application/json ; charset=utf-8", 202), ("Application/JSON;charset=utf-8", 202),
        ("application/problem+json", 202), ("text/plain", 415), ("application/jsonx", 415), ("", 415),
      ] {
        let fields = [(name: "Content-Type", value: type)]
        let answer = try await api.send(.post, "/hash/md5", #"{"string":"x"}"#, fields: fields, on: reactor)
        #expect(answer.status == status, "\(type)")
      }
      await api.stop(on: reactor)
    }
  }

  @Test func `a database without the schema is named as what is missing`() async throws {
    try await onReactor { reactor in
      let api = try await APIHarness.start("bare", redis: nil, on: reactor)
      #expect(try await api.send(.post, "/hash/md5", #"{"string":"x"}"#, on: reactor).status == 202)
      // Workers are being told of the task, in a transaction that may lock the tables in another order.
      var isDropped = false
      while !isDropped {
        do throws(PostgresError) {
          let drop = PostgresStatement("drop", "drop schema millrace cascade")
          _ = try await api.inspector.execute(drop, on: reactor)
          isDropped = true
        } catch {
          try #require(error.code == .server(sqlstate: "40P01"), "\(error)")
        }
      }
      let answer = try await api.send(.get, "/readyz", on: reactor)
      #expect(answer.status == 503 && answer.text.contains(#""waiting_for":["the schema"]"#))
      // Somebody is about to make it.
      let refused = try await api.send(.post, "/hash/md5", #"{"string":"x"}"#, on: reactor)
      #expect(refused.status == 503 && refused.field("retry-after") == "1")
      // A new session finds that out, and balancers leave the process out.
      #expect(try await api.send(.get, "/health", on: reactor).status == 200)
      let others = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
      _ = try await api.inspector.execute(
        PostgresStatement("end", "select pg_terminate_backend(pid) \(others)"), on: reactor)
      let deadline = reactor.now + .seconds(20 as UInt64)
      while try await api.send(.get, "/health", on: reactor).status != 503, reactor.now < deadline {}
      #expect(try await api.send(.get, "/health", on: reactor).status == 503)
      await api.stop(on: reactor)
    }
  }

  @Test func `without a worker the API is ready, takes tasks, and says what is waited for`() async throws {
    try await onReactor { reactor in
      let api = try await APIHarness.start("alone", redis: nil, on: reactor)
      // One that is told to take no more tasks is none, though it lives.
      for (wanted, status) in [(1, "degraded"), (0, "ready")] {
        let order = PostgresStatement("order_\(wanted)", "update millrace.worker set wanted = \(wanted)::smallint")
        _ = try await api.inspector.execute(order, on: reactor)
        let text = try await api.send(.get, "/readyz", on: reactor).text
        #expect(text.hasPrefix(#"{"status":"\#(status)""#), "\(text)")
      }
      try await api.worker.leave(held: [], until: .never, on: reactor)
      // A good answer is remembered for a while.
      let deadline = reactor.now + .seconds(20 as UInt64)
      var answer = try await api.send(.get, "/readyz", on: reactor)
      while answer.text.hasPrefix(#"{"status":"ready""#), reactor.now < deadline {
        answer = try await api.send(.get, "/readyz", on: reactor)
      }
      #expect(answer.status == 200 && answer.text == #"{"status":"degraded","waiting_for":["a worker"]}"#)
      #expect(try await api.send(.post, "/hash/md5", #"{"string":"x"}"#, on: reactor).status == 202)
      await api.stop(on: reactor)
    }
  }

  @Test func `what somebody else has put into Redis is never an answer, and goes`() async throws {
    try await onReactor { reactor in
      let api = try await APIHarness.start("lying", redis: Self.redis, on: reactor)
      let redis = try #require(api.service.redis)
      let input = Array("lied about".utf8)
      let identity = try #require(TaskIdentity(.md5, input))
      let foreign = #""md5_hash":"d41d8cd98f00b204e9800998ecf8427e","execution_time_seconds":0.1}"#
      let lies = [
        "garbage", "{}", "{\"original_string\":\"other\",\(foreign)", "{\"original_string\":\"lied about\",\(foreign)",
      ]
      for lie in lies {
        try await redis.set(identity.redisKey, Array(lie.utf8), lifetimeMs: 60_000, on: reactor)
        #expect(try await api.send(.post, "/hash/md5", #"{"string":"lied about"}"#, on: reactor).status == 202)
        #expect(try await redis.getWithLifetime(identity.redisKey, on: reactor) == nil)
      }
      let statistics = try await api.send(.get, "/cache/stats", on: reactor)
      #expect(statistics.text.contains("\"refused\":\(lies.count)"))
      await api.stop(on: reactor)
    }
  }

  @Test func `a frozen Redis makes answers slower, never wrong and never an error`() async throws {
    let redis = try TestServer.redis()
    try await onReactor { reactor in
      let api = try await APIHarness.start("frozen", redis: redis, on: reactor)
      for number in 0..<20 {
        if number == 5 { kill(redis.processId, SIGSTOP) }
        if number == 15 { kill(redis.processId, SIGCONT) }
        let body = "{\"string\":\"\(number)\"}"
        #expect(try await api.send(.post, "/hash/sha256", body, on: reactor).status == 202)
      }
      await api.stop(on: reactor)
    }
    redis.stop()
  }

  @Test func `without PostgreSQL a submission is told to come again, within seconds`() async throws {
    try await onReactor { reactor in
      let api = try await APIHarness.start("away", redis: nil, on: reactor)
      api.service.queue.close(on: reactor)
      let answer = try await api.send(.post, "/hash/md5", #"{"string":"x"}"#, on: reactor)
      #expect(answer.status == 503 && answer.field("retry-after") == "1")
      #expect(!answer.text.contains("socket") && !answer.text.contains("postgres"))
      #expect(try await api.send(.get, "/readyz", on: reactor).status == 503)
      #expect(try await api.send(.get, "/livez", on: reactor).status == 200)
      await api.stop(on: reactor)
    }
  }

  @Test func `a frozen PostgreSQL is told of in the promised time, to all who wait, and forgotten when it thaws`()
    async throws
  {
    try await onReactor { reactor in
      let api = try await APIHarness.start("icy", redis: nil, on: reactor)
      #expect(try await api.send(.get, "/readyz", on: reactor).status == 200)
      let sessions = try await api.inspector.execute(
        PostgresStatement(
          "sessions",
          """
          select pid::bigint from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
          """), on: reactor)
      let pids = (0..<sessions.rowCount).map { pid_t(sessions.int64($0, 0)) }
      for pid in pids { kill(pid, SIGSTOP) }
      defer { for pid in pids { kill(pid, SIGCONT) } }
      let began = reactor.now
      while try await api.send(.get, "/readyz", on: reactor).status == 200 {}
      #expect(reactor.now.since(began) < .seconds(3 as UInt64))
      // Whoever comes later waits behind what nobody answers any more, and no longer than the first.
      for _ in 0..<2 {
        let asked = (0..<6).map { number in
          Task.immediate(executorPreference: reactor.queue) { () -> (Int, TimeSpan) in
            let began = reactor.now
            let answer =
              number % 2 == 0
              ? try? await api.send(.post, "/hash/md5", "{\"string\":\"\(number)\"}", on: reactor)
              : try? await api.send(.get, "/task/\(number)", on: reactor)
            return (answer?.status ?? 0, reactor.now.since(began))
          }
        }
        for request in asked {
          let (status, took) = await request.value
          #expect(status == 503 && took < .seconds(5 as UInt64))
        }
      }
      for pid in pids { kill(pid, SIGCONT) }
      let deadline = reactor.now + .seconds(20 as UInt64)
      while try await api.send(.get, "/readyz", on: reactor).status != 200, reactor.now < deadline {
        await reactor.sleep(for: .milliseconds(20))
      }
      #expect(try await api.send(.post, "/hash/md5", #"{"string":"after"}"#, on: reactor).status == 202)
      await api.stop(on: reactor)
    }
  }

  @Test func `a PostgreSQL without room is not ready until it has stored a task again`() async throws {
    try await onReactor { reactor in
      let api = try await APIHarness.start("crammed", redis: nil, on: reactor)
      #expect(try await api.send(.get, "/readyz", on: reactor).status == 200)
      for sql in [
        """
        create function no_room() returns trigger language plpgsql as
        $$ begin raise exception 'could not extend file' using errcode = '53100'; end $$
        """,
        "create trigger no_room before insert on millrace.task for each statement execute function no_room()",
      ] { _ = try await api.inspector.execute(PostgresStatement("step \(sql.count)", sql), on: reactor) }
      #expect(try await api.send(.post, "/hash/md5", #"{"string":"x"}"#, on: reactor).status == 503)
      let answer = try await api.send(.get, "/readyz", on: reactor)
      #expect(answer.status == 503 && answer.text.contains("cannot write"))
      let drop = PostgresStatement("drop", "drop trigger no_room on millrace.task")
      _ = try await api.inspector.execute(drop, on: reactor)
      #expect(try await api.send(.post, "/hash/md5", #"{"string":"x"}"#, on: reactor).status == 202)
      #expect(try await api.send(.get, "/readyz", on: reactor).status == 200)
      await api.stop(on: reactor)
    }
  }

  @Test func `memory is emptied when news come again, for a word to empty it may have been missed`() async throws {
    try await onReactor { reactor in
      let api = try await APIHarness.start("missed", redis: Self.redis, on: reactor)
      let body = #"{"string":"missed"}"#
      #expect(try await api.send(.post, "/hash/md5", body, on: reactor).status == 202)
      try await api.work(on: reactor)
      for (level, event) in [("L3", nil), ("L1", .disconnected), ("L1", .connected), ("L2", nil), ("L1", nil)]
        as [(String, RedisSubscriber.Event?)]
      {
        let hit = try await api.send(.post, "/hash/md5", body, on: reactor)
        #expect(hit.field("cache-status") == "millrace; hit; detail=\(level)")
        if let event { api.service.received(event, on: reactor) }
      }
      await api.stop(on: reactor)
    }
  }

  @Test func `I9 what was asked for before the cache was cleared is not put into it afterwards`() async throws {
    try await onReactor { reactor in
      let api = try await APIHarness.start("generation", redis: Self.redis, on: reactor)
      let (cache, identity) = (api.service.cache, TaskIdentity(.named("md5")!, Array("generation".utf8))!)
      let key = identity.redisKey
      cache.keep(identity, askedIn: cache.generation, on: reactor)
      while try await api.service.redis!.getWithLifetime(key, on: reactor) == nil {}
      cache.clearMemory()
      // Tasks begin in turn, and nothing is read between them: the answer is on its way when the cache is cleared.
      var hits: [ResultCache.Hit?] = []
      let over = Pause()
      Task.immediate(executorPreference: reactor.queue) {
        hits.append(await cache.inRedis(identity, .md5, Array("generation".utf8), on: reactor))
        over.end()
      }
      let before = cache.generation
      Task.immediate(executorPreference: reactor.queue) { cache.clearMemory() }
      await over.wait(until: .never, on: reactor)
      #expect(hits.first??.level.description == "L2" && cache.inMemory(identity, at: reactor.now) == nil)
      _ = try await api.service.redis!.removeAll(prefix: key, on: reactor)
      cache.keep(identity, askedIn: before, on: reactor)
      #expect(cache.inMemory(identity, at: reactor.now) == nil)
      #expect(try await api.service.redis!.getWithLifetime(key, on: reactor) == nil)
      cache.keep(identity, askedIn: cache.generation, on: reactor)
      #expect(cache.inMemory(identity, at: reactor.now) != nil)
      await api.stop(on: reactor)
    }
  }

  @Test func `only an admin clears the cache, and then it is empty`() async throws {
    try await onReactor { reactor in
      let api = try await APIHarness.start(
        "admin", redis: Self.redis, { $0.adminToken = "s3cret" }, on: reactor)
      _ = try await api.send(.post, "/hash/md5", #"{"string":"kept"}"#, on: reactor)
      try await api.work(on: reactor)
      _ = try await api.send(.post, "/hash/md5", #"{"string":"kept"}"#, on: reactor)
      #expect(try await api.send(.post, "/cache/clear", on: reactor).status == 401)
      let wrong = [(name: "Authorization", value: "Bearer s3creu")]
      #expect(try await api.send(.post, "/cache/clear", fields: wrong, on: reactor).status == 401)
      let right = [(name: "Authorization", value: "Bearer s3cret")]
      for path in ["/cache/flush", "/cache/clear"] {
        let cleared = try await api.send(.post, path, fields: right, on: reactor)
        #expect(cleared.text == #"{"message":"Cache cleared successfully"}"#)
      }
      let stats = try await api.send(.get, "/cache/stats", on: reactor)
      #expect(stats.text.contains(#""current_size":0,"levels""#) && stats.text.contains(#""keys":0"#))
      await api.stop(on: reactor)
    }
  }
}

extension ResultCache {
  fileprivate func keep(_ identity: TaskIdentity, askedIn generation: Int, on reactor: isolated Reactor) {
    let hash = String(decoding: MD5.digest(of: Array("generation".utf8)).hex, as: UTF8.self)
    let result = #"{"original_string":"generation","md5_hash":"\#(hash)","execution_time_seconds":0.1}"#
    _ = promote(
      identity, result: Array(result.utf8), ageSeconds: 0, retention: .seconds(60.0), askedIn: generation, on: reactor)
  }
}
