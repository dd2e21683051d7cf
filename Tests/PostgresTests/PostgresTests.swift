import Basics
import Glibc
import Reactor
import Telemetry
import TestSupport
import Testing

@testable import Postgres

let pool = try! ComputePool(width: 2)
let helpers = PostgresConnection.Helpers(pool: pool)
let quiet = Logger(sink: LogSink(fd: 2), subsystem: "test", level: .error)

func configuration(_ server: TestServer) -> PostgresConfiguration {
  var configuration = PostgresConfiguration()
  configuration.hosts = [server.directory]
  configuration.database = "postgres"
  configuration.baseBackoffSeconds = 0.02
  return configuration
}

func statement(_ sql: String) -> PostgresStatement { PostgresStatement(sql, sql) }

@Suite(.serialized, .timeLimit(.minutes(15))) struct PostgresTests {
  static let server = try! TestServer.postgres()

  @Test func `every type arrives as it was sent, null included`() async throws {
    let configuration = configuration(Self.server)
    try await onReactor { reactor in
      let connection = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      var parameters = PostgresParameters()
      parameters.add(Int64.min)
      parameters.add(Int16(-2))
      parameters.add(1.5)
      parameters.add(text: "grüße")
      parameters.add(byteArrays: [[0, 255]])
      parameters.add([1, -1] as [Int64])
      parameters.add(texts: ["a", nil])
      parameters.add(byteArrays: [[1], nil, []])
      parameters.add([] as [Int16])
      let result = try await connection.execute(
        statement(
          """
          select $1::bigint, $2::smallint, $3::float8, $4::text, ($5::bytea[])[1], ($6::bigint[])[2], ($7::text[])[2],
            octet_length(($8::bytea[])[3]), cardinality($9::smallint[]), true, null::text,
            timestamptz '2026-01-01T00:00:00Z'
          """), parameters, on: reactor)
      #expect(result.int64(0, 0) == .min && result.int16(0, 1) == -2 && result.double(0, 2) == 1.5)
      #expect(result.text(0, 3) == "grüße" && result.bytes(0, 4) == [0, 255] && result.int64(0, 5) == -1)
      #expect(result.isNull(0, 6) && result.int32(0, 7) == 0 && result.int32(0, 8) == 0 && result.bool(0, 9))
      #expect(result.text(0, 10) == nil && result.microseconds(0, 11) == 1_767_225_600_000_000)
      connection.close(on: reactor)
    }
  }

  @Test func `an error holds nothing of what was sent`() async throws {
    let configuration = configuration(Self.server)
    try await onReactor { reactor in
      let connection = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      let table = statement("create temporary table picky (text text check (text = ''))")
      _ = try await connection.execute(table, on: reactor)
      var parameters = PostgresParameters()
      parameters.add(text: "hunter2")
      do throws(PostgresError) {
        _ = try await connection.execute(
          statement("insert into picky values ($1::text)"), parameters, on: reactor)
        Issue.record("the row is stored")
      } catch {
        #expect(error.message.contains("violates check constraint"))
        #expect(!error.message.contains("hunter2") && !error.message.contains("DETAIL"), "\(error)")
      }
      connection.close(on: reactor)
    }
  }

  @Test func `what the server remarks is not printed past the log`() async throws {
    let configuration = configuration(Self.server)
    let path = "/tmp/millrace-remarks-\(getpid())"
    let file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    unlink(path)
    let standardError = dup(2)
    defer {
      close(standardError)
      close(file)
    }
    dup2(file, 2)
    defer { dup2(standardError, 2) }
    try await onReactor { reactor in
      let connection = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      _ = try await connection.execute(
        statement("do $$ begin raise warning 'hunter2'; end $$"), on: reactor)
      connection.close(on: reactor)
    }
    var bytes = [UInt8](repeating: 0, count: 65_536)
    let count = pread(file, &bytes, bytes.count, 0)
    #expect(!String(decoding: bytes[..<max(count, 0)], as: UTF8.self).contains("hunter2"))
  }

  @Test func `a tool tries to connect as often as it was told to`() async throws {
    var configuration = configuration(Self.server)
    configuration.limiter = ConnectionLimiter(max: 1)
    configuration.connectionRetries = 100
    try await onReactor { [configuration] reactor in
      let first = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      var impatient = configuration
      impatient.connectionRetries = 0
      await #expect(throws: PostgresError.self) {
        _ = try await PostgresConnection.connectPatiently(impatient, helpers: helpers, log: quiet, on: reactor)
      }
      Task.immediate(executorPreference: reactor.queue) {
        await reactor.sleep(for: .milliseconds(100))
        first.close(on: reactor)
      }
      let second = try await PostgresConnection.connectPatiently(
        configuration, helpers: helpers, log: quiet, on: reactor)
      #expect(second.isOpen)
      second.close(on: reactor)
    }
  }

  @Test func `what libpq refuses to send fails with its request, and nothing of the request is kept`() async throws {
    let configuration = configuration(Self.server)
    try await onReactor { reactor in
      let connection = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      _ = try await connection.execute(statement("create table half (number integer)"), on: reactor)
      // The protocol counts parameters in sixteen bits.
      var tooMany = PostgresParameters()
      for _ in 0...65_535 { tooMany.add(1 as Int32) }
      let steps = [
        (statement("insert into half values (1)"), PostgresParameters()), (statement("select 1"), tooMany),
      ]
      await #expect(throws: PostgresError.self) { _ = try await connection.execute(steps, on: reactor) }
      let other = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      #expect(try await other.execute(statement("select count(*) from half"), on: reactor).int64(0, 0) == 0)
      connection.close(on: reactor)
      other.close(on: reactor)
    }
  }

  @Test func `hundreds of requests in flight each get their own answer, and one that fails takes no other with it`()
    async throws
  {
    let configuration = configuration(Self.server)
    let answers = try await onReactor { reactor -> [Int64] in
      let connection = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      let collector = Collector()
      for index in 0..<400 as Range<Int64> {
        Task.immediate(executorPreference: reactor.queue) {
          await collector.ask(index, connection, on: reactor)
        }
      }
      while collector.answers.count < 400 { await reactor.sleep(for: .milliseconds(1)) }
      connection.close(on: reactor)
      return collector.answers
    }
    #expect(answers.filter { $0 == -1 }.count == 40)
    #expect(answers.filter { $0 >= 0 }.sorted() == (0..<400).filter { $0 % 10 != 3 })
  }

  @Test func `a statement that cannot be prepared fails each time and does not break the connection`() async throws {
    let configuration = configuration(Self.server)
    try await onReactor { reactor in
      let connection = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      for _ in 0..<2 {
        do {
          _ = try await connection.execute(statement("select nonsense from nowhere"), on: reactor)
          Issue.record("should have failed")
        } catch {}
      }
      #expect(try await connection.execute(statement("select 1"), on: reactor).int32(0, 0) == 1)
      connection.close(on: reactor)
    }
  }

  @Test func `a request past its deadline is cancelled on the server and the connection goes on`() async throws {
    let configuration = configuration(Self.server)
    try await onReactor { reactor in
      let connection = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      let began = reactor.now
      do {
        _ = try await connection.execute(
          statement("select pg_sleep(30)::text"), until: reactor.now + .milliseconds(50), on: reactor)
        Issue.record("the deadline did not end the request")
      } catch {
        #expect((error as? PostgresError)?.code == .deadline)
      }
      #expect(try await connection.execute(statement("select 2"), on: reactor).int32(0, 0) == 2)
      #expect(reactor.now.since(began) < .seconds(10 as UInt64))
      connection.close(on: reactor)
    }
  }

  @Test func `a cancel that comes too late hits nobody else`() async throws {
    let configuration = configuration(Self.server)
    try await onReactor { reactor in
      let slow = try! ComputePool(width: 1)
      let connection = try await PostgresConnection.connect(
        configuration, helpers: PostgresConnection.Helpers(pool: pool, cancels: slow), on: reactor)
      // The only thread for cancels is held up until the next request runs.
      let (started, start) = AsyncStream.makeStream(of: Void.self)
      let gate = Locked(false)
      Task.immediate(executorPreference: reactor.queue) {
        try? await slow.run(on: reactor) { _ = gate.wait { $0 ? () : nil } }
      }
      var late: PostgresError?
      Task.immediate(executorPreference: reactor.queue) {
        do throws(PostgresError) {
          _ = try await connection.execute(
            statement("select pg_sleep(0.2)::text"), until: reactor.now + .milliseconds(20), on: reactor)
        } catch {
          late = error
        }
        start.yield()
      }
      for await _ in started { break }
      #expect(late?.code == .deadline)
      var number: Int32?
      let over = Pause()
      Task.immediate(executorPreference: reactor.queue) {
        number = try? await connection.execute(statement("select 7 from pg_sleep(0.4)"), on: reactor).int32(0, 0)
        over.end()
      }
      let other = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      let running = statement("select count(*) from pg_stat_activity where query like 'select 7%' and state = 'active'")
      while try await other.execute(running, on: reactor).int64(0, 0) == 0 {
        await reactor.sleep(for: .milliseconds(1))
      }
      gate.withLock { $0 = true }
      gate.notifyAll()
      if number == nil { await over.wait(until: .never, on: reactor) }
      #expect(number == 7)
      other.close(on: reactor)
      connection.close(on: reactor)
    }
  }

  @Test func `each attempt begins with another address`() {
    let configuration = PostgresConfiguration()
    let places = ["a", "b", "c"]
    #expect((0...3).map { configuration.turned(forAttempt: $0).turned(places)[0] } == ["a", "b", "c", "a"])
    #expect(configuration.turned(forAttempt: 5).turned(places) == ["c", "a", "b"])
    #expect(configuration.turned(forAttempt: 5).turned([]) == [])
  }

  @Test func `a server that is a primary no more is worth another try`() {
    #expect(PostgresError(.server(sqlstate: "25006"), "").isTransient)
    #expect(!PostgresError(.server(sqlstate: "22021"), "").isTransient)
  }

  @Test func `who has an answer has heard of what was committed before the request was sent`() async throws {
    let configuration = configuration(Self.server)
    try await onReactor { reactor in
      let connection = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      let other = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      let ear = Ear()
      connection.notificationReceiver = ear
      _ = try await connection.execute(statement("listen mill"), on: reactor)
      for round in 0..<10 {
        let busy = Task.immediate(executorPreference: reactor.queue) {
          _ = try await connection.execute(statement("select pg_sleep(0.01)"), on: reactor)
        }
        _ = try await other.execute(statement("select pg_notify('mill', '\(round)')"), on: reactor)
        let asked = Task.immediate(executorPreference: reactor.queue) {
          _ = try await connection.execute(statement("select 1"), on: reactor)
          return ear.heard
        }
        // Both answers, and the notification between them, are read at once by a loop that was held up.
        await reactor.sleep(for: .milliseconds(1))
        usleep(30_000)
        #expect(try await asked.value == "mill:\(round)")
        try await busy.value
      }
      connection.close(on: reactor)
      other.close(on: reactor)
    }
  }

  @Test func `a notification reaches the listener`() async throws {
    let configuration = configuration(Self.server)
    let heard = try await onReactor { reactor -> String in
      let connection = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      let ear = Ear()
      connection.notificationReceiver = ear
      _ = try await connection.execute(statement("listen mill"), on: reactor)
      let other = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      _ = try await other.execute(statement("select pg_notify('mill', 'turn')"), on: reactor)
      while ear.heard.isEmpty { await reactor.sleep(for: .milliseconds(1)) }
      connection.close(on: reactor)
      other.close(on: reactor)
      return ear.heard
    }
    #expect(heard == "mill:turn")
  }

  @Test func `a client whose backend is killed fails what was in flight and reconnects`() async throws {
    let configuration = configuration(Self.server)
    try await onReactor { reactor in
      let client = PostgresClient(configuration, helpers: helpers, log: quiet, metrics: Metrics())
      client.start(on: reactor)
      let first = try await client.execute(statement("select pg_backend_pid()"), on: reactor).int32(0, 0)
      do {
        _ = try await client.execute(statement("select pg_terminate_backend(pg_backend_pid())"), on: reactor)
        Issue.record("should have failed")
      } catch {}
      let second = try await client.execute(statement("select pg_backend_pid()"), on: reactor).int32(0, 0)
      #expect(first != second)
      client.close(on: reactor)
    }
  }

  @Test func `a connection that has had a large answer is replaced when it has nothing to do, and nothing fails`()
    async throws
  {
    let configuration = configuration(Self.server)
    try await onReactor { reactor in
      let client = PostgresClient(configuration, helpers: helpers, log: quiet, metrics: Metrics())
      client.start(on: reactor)
      let who = statement("select pg_backend_pid()")
      let first = try await client.execute(who, on: reactor).int32(0, 0)
      let large = try await client.execute(statement("select repeat('x', 3000000)"), on: reactor)
      #expect(large.text(0, 0)?.utf8.count == 3_000_000)
      // While it is asked again and again it stays.
      let busyUntil = reactor.now + .seconds(4 as UInt64)
      while reactor.now < busyUntil {
        #expect(try await client.execute(who, on: reactor).int32(0, 0) == first)
        await reactor.sleep(for: .milliseconds(50))
      }
      let count = "select count(*) from pg_stat_activity where pid = \(first)"
      let other = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      let deadline = reactor.now + .seconds(30 as UInt64)
      while try await other.execute(statement(count), on: reactor).int64(0, 0) > 0, reactor.now < deadline {
        await reactor.sleep(for: .milliseconds(10))
      }
      #expect(reactor.now < deadline)
      #expect(try await client.execute(who, on: reactor).int32(0, 0) != first)
      other.close(on: reactor)
      client.close(on: reactor)
    }
  }

  @Test func `a session that was ended alone is replaced at once, and one that ends again and again is not`()
    async throws
  {
    var slow = configuration(Self.server)
    // Whoever sleeps before the first attempt sleeps for two seconds at least.
    slow.baseBackoffSeconds = 20
    let configuration = slow
    let end = statement("select pg_terminate_backend(pg_backend_pid())")
    try await onReactor { reactor in
      let client = PostgresClient(configuration, helpers: helpers, log: quiet, metrics: Metrics())
      client.start(on: reactor)
      let setting = try await client.execute(statement("show idle_in_transaction_session_timeout"), on: reactor)
      #expect(setting.text(0, 0) == "1min")
      let began = reactor.now
      _ = try? await client.execute(end, on: reactor)
      _ = try await client.execute(statement("select 1"), on: reactor)
      #expect(reactor.now.since(began) < .milliseconds(400))
      _ = try? await client.execute(end, on: reactor)
      await #expect(throws: PostgresError.self) {
        _ = try await client.execute(statement("select 1"), until: reactor.now + .milliseconds(300), on: reactor)
      }
      client.close(on: reactor)
    }
  }

  @Test func `no more connections than the limit, and an unreachable server is told in bounded time`() async throws {
    var configuration = configuration(Self.server)
    configuration.limiter = ConnectionLimiter(max: 1)
    let limited = configuration
    try await onReactor { reactor in
      let only = try await PostgresConnection.connect(limited, helpers: helpers, on: reactor)
      do {
        _ = try await PostgresConnection.connect(limited, helpers: helpers, on: reactor)
        Issue.record("should have failed")
      } catch {}
      only.close(on: reactor)
      try await PostgresConnection.connect(limited, helpers: helpers, on: reactor).close(on: reactor)
      #expect(limited.limiter.count == 0)
      var nowhere = limited
      nowhere.hosts = ["/nonexistent"]
      let client = PostgresClient(nowhere, helpers: helpers, log: quiet, metrics: Metrics())
      client.start(on: reactor)
      do {
        _ = try await client.execute(statement("select 1"), on: reactor)
        Issue.record("reached a server that does not exist")
      } catch {
        #expect((error as? PostgresError)?.code == .unavailable)
      }
      client.close(on: reactor)
    }
  }

  @Test func `migrations run once in order whoever starts them, and a newer schema is refused`() async throws {
    let configuration = configuration(Self.server)
    let steps = [
      Migration(1, "make", ["create table millrace.t (a int)", "insert into millrace.t values (1)"]),
      Migration(2, "more", ["alter table millrace.t add b int default 5"]),
    ]
    try await onReactor { reactor in
      let one = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      let two = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      let counter = Collector()
      for connection in [one, two] {
        Task.immediate(executorPreference: reactor.queue) {
          await counter.migrate(steps, connection, on: reactor)
        }
      }
      while counter.answers.count < 2 { await reactor.sleep(for: .milliseconds(1)) }
      #expect(counter.answers.sorted() == [0, 2])
      do {
        _ = try await Migrator([steps[0]], log: quiet).run(on: one, on: reactor)
        Issue.record("should have failed")
      } catch {}
      #expect(try await one.execute(statement("select sum(b) from millrace.t"), on: reactor).int64(0, 0) == 5)
      one.close(on: reactor)
      two.close(on: reactor)
    }
  }
}

extension PostgresTests {
  @Test func `a migration says that it waits for another one`() async throws {
    let configuration = configuration(Self.server)
    try await onReactor { reactor in
      let admin = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      _ = try await admin.execute(statement("create database waiting"), on: reactor)
      admin.close(on: reactor)
      var own = configuration
      own.database = "waiting"
      let one = try await PostgresConnection.connect(own, helpers: helpers, on: reactor)
      let two = try await PostgresConnection.connect(own, helpers: helpers, on: reactor)
      _ = try await two.execute(statement("select pg_advisory_lock(1296649298)"), on: reactor)
      var ends: [CInt] = [-1, -1]
      #expect(pipe(&ends) == 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0)
      let log = Logger(sink: LogSink(fd: ends[1]), subsystem: "test")
      let steps = [Migration(1, "make", ["create table millrace.t (a int)"])]
      let counter = Collector()
      Task.immediate(executorPreference: reactor.queue) { await counter.migrate(steps, one, log: log, on: reactor) }
      while try await two.execute(statement(lockWaiters), on: reactor).int64(0, 0) == 0 {
        await reactor.sleep(for: .milliseconds(1))
      }
      log.flush()
      var bytes = [UInt8](repeating: 0, count: 4096)
      let count = read(ends[0], &bytes, bytes.count)
      #expect(String(decoding: bytes[..<max(0, count)], as: UTF8.self).contains("another program migrates"))
      _ = try await two.execute(statement("select pg_advisory_unlock(1296649298)"), on: reactor)
      while counter.answers.isEmpty { await reactor.sleep(for: .milliseconds(1)) }
      #expect(counter.answers == [1])
      one.close(on: reactor)
      two.close(on: reactor)
    }
  }
}

private final class Ear: PostgresNotificationReceiver {
  var heard = ""
  func notified(channel: String, payload: String, on reactor: isolated Reactor) { heard = "\(channel):\(payload)" }
}

private final class Collector {
  var answers: [Int64] = []

  func ask(_ index: Int64, _ connection: PostgresConnection, on reactor: isolated Reactor) async {
    var parameters = PostgresParameters()
    parameters.add(index)
    do {
      let sql = statement("select $1::bigint + 0 / ($1::bigint % 10 - 3)")
      answers.append(try await connection.execute(sql, parameters, on: reactor).int64(0, 0))
    } catch {
      answers.append(-1)
    }
  }

  func migrate(
    _ steps: [Migration], _ connection: PostgresConnection, log: Logger = quiet, on reactor: isolated Reactor
  ) async {
    do {
      answers.append(Int64(try await Migrator(steps, log: log).run(on: connection, on: reactor).count))
    } catch {
      answers.append(-1)
    }
  }
}
