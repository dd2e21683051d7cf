import Foundation
import Glibc
import TestSupport
import Testing

/// Long tasks and orders in a whole system.
@Suite(.serialized, .timeLimit(.minutes(15))) struct LongTaskTests {
  private struct Client {
    let system: System
    let token: String

    init(_ system: System) async throws {
      self.system = system
      token = String(try #require(try await system.get("/token").split(separator: "\"").last { $0.hasPrefix("ey") }))
    }

    /// Submits a long task and returns its number.
    func submit(_ body: String, _ query: String = "", _ field: String = "X-None: 0") async throws -> Int {
      let answer = try await shell(
        "curl -s 'http://127.0.0.1:\(system.port)/longtask\(query)' -H 'Authorization: \(token)' -d '\(body)' "
          + "-H 'Content-Type: application/json' -H '\(field)'")
      let id = answer.components(separatedBy: "\"task_id\":").last.flatMap { Int($0.prefix { $0.isNumber }) }
      return try #require(id, "\(answer)")
    }

    func task(_ id: Int) async throws -> String { try await system.get("/task/\(id)") }

    func becomes(_ id: Int, _ status: String) async -> Bool {
      await eventually { (try? await task(id))?.contains("\"status\":\"\(status)\"") == true }
    }
  }

  @Test func aLongTaskIsWatchedBrokenOffAndGivenBackByAWorkerThatStops() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let client = try await Client(system)

    let short = try await client.submit(#"{"task_type":"default","duration":2.5}"#)
    let events = try await shell("curl -s --max-time 60 http://127.0.0.1:\(system.port)/task/\(short)/events")
    let states = events.split(separator: "\n").filter { $0.hasPrefix("id: ") }
    #expect(states.last == "id: \(short)-1-completed-0", "\(events)")

    // One that is cancelled is over at once, and its slot is free soon: what has run is not run again.
    let doomed = try await client.submit(#"{"task_type":"default","duration":60}"#)
    let file = system.folder + "/events"
    let watcher = try ChildProcess.start(
      "/bin/sh", ["-c", "exec curl -sN http://127.0.0.1:\(system.port)/task/\(doomed)/events > \(file)"])
    func seen(_ text: String) -> Bool { (try? String(contentsOfFile: file, encoding: .utf8))?.contains(text) == true }
    #expect(await eventually { seen("id: \(doomed)-1-running-") && seen("\"progress\":0.") })
    let answer = try await system.post("/task/\(doomed)/cancel", "")
    #expect(answer.contains("\"status\":\"cancelled\"") && answer.contains("\"attempts\":1"), "\(answer)")
    #expect(await eventually { seen("\"status\":\"cancelled\"") })
    kill(watcher, SIGKILL)
    _ = ChildProcess.waitForEnd(of: watcher)
    let psql = "psql -h \(system.folder)/data/run -U millrace -d millrace -qAtc"
    #expect(await eventually { (try? await shell("\(psql) 'select count(*) from millrace.lease'")) == "0\n" })

    let trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    let failing = try await client.submit(
      #"{"task":"x","duration":0.1,"fail":true}"#, "?max_attempts=1", "traceparent: 00-\(trace)-00f067aa0ba902b7-01")
    #expect(await client.becomes(failing, "failed"))
    #expect(try await client.task(failing).contains("the task was asked to fail"))
    #expect(await system.waitFor("trace_id=\(trace)"), "\(system.output)")

    // A worker that stops gives back what it cannot finish, and no attempt is lost with it.
    let long = try await client.submit(#"{"task_type":"io_intensive","duration":500}"#)
    #expect(await client.becomes(long, "running"))
    let worker = try #require(system.processes("millrace worker").first)
    kill(worker, SIGTERM)
    #expect(await eventually { !system.processes("millrace worker").contains(worker) })
    #expect(await client.becomes(long, "running"))
    let attempt = "\(psql) 'select attempt from millrace.task where id = \(long)'"
    #expect(try await shell(attempt) == "0\n")
    _ = try await system.post("/task/\(long)/cancel", "")
  }

  @Test func whateverEndsItsWorkerTakesNoOtherLongTaskWithIt() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let client = try await Client(system)
    let psql = "psql -h \(system.folder)/data/run -U millrace -d millrace -qAtc"
    func number(_ sql: String) async -> Int {
      (try? await shell("\(psql) \"\(sql)\"")).flatMap { Int($0.dropLast()) } ?? -1
    }
    // What is begun, and how many tasks whose worker was lost that worker runs then.
    _ = try await shell(
      "\(psql) \"create table begun (lane smallint, suspects bigint); "
        + "create function counted() returns trigger language plpgsql as "
        + "'begin insert into begun select new.lane, count(*) from millrace.lease where lane % 8 = 7 "
        + "and worker_id = new.worker_id; return null; end'; "
        + "create trigger counted after insert on millrace.lease for each row execute function counted()\"")
    var ids: [Int] = []
    for _ in 0..<4 { ids.append(try await client.submit(#"{"task_type":"io_intensive","duration":500}"#)) }
    #expect(await eventually { await number("select count(*) from millrace.lease") == 4 })
    // The first time all of them are blamed, the second time the one that runs alone.
    for blamed in ["where attempt = 1) = 4", "where attempt = 2) = 1"] {
      let worker = try #require(system.processes("millrace worker").first)
      kill(worker, SIGKILL)
      #expect(await eventually { !system.processes("millrace worker").contains(worker) })
      #expect(
        await eventually {
          await number(
            "select ((select count(*) from millrace.task \(blamed) and exists "
              + "(select from millrace.lease where lane % 8 = 7))::integer") == 1
        }, "\(system.output)")
    }
    #expect(await number("select count(*) from millrace.task where attempt = 1") == 3)
    // Whoever comes next is run as soon as one is over.
    for id in ids { _ = try await system.post("/task/\(id)/cancel", "") }
    #expect(await eventually { await number("select count(*) from millrace.lease") == 0 })
    #expect(await number("select max(suspects) from begun") == 1)
  }

  @Test func whoeverWatchesDoesNotHoldUpAStop() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let hour = try await shell("date -u -d '+1 hour' +%Y-%m-%dT%H:%M:%SZ").dropLast()
    #expect(try await system.post("/hash/md5?run_at=\(hour)", #"{"string":"later"}"#).contains("queued"))
    let file = system.folder + "/events"
    let watcher = try ChildProcess.start(
      "/bin/sh", ["-c", "exec curl -sN http://127.0.0.1:\(system.port)/task/1/events > \(file)"])
    #expect(await eventually { (try? String(contentsOfFile: file, encoding: .utf8))?.contains("queued") == true })
    let began = ContinuousClock.now
    kill(system.pid, SIGINT)
    #expect(await system.waitForEnd() == 0)
    let span = ContinuousClock.now - began
    // The balancer would wait for it for a quarter of a minute.
    #expect(span < .seconds(12), "\(span)")
    #expect(ChildProcess.waitForEnd(of: watcher).code == 0)
  }

  @Test func kindsArePausedAndWorkersQuietedWhileTheyRun() async throws {
    let system = try System(["--workers", "2"])
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let psql = "psql -h \(system.folder)/data/run -U millrace -d millrace -qAtc"
    func order(_ sql: String) async throws {
      _ = try await shell("\(psql) \"\(sql); notify millrace_ready, 'orders'\"")
    }
    try await order("insert into millrace.kind_control values ('md5', true, null)")
    #expect(await system.waitFor("orders were given", times: 2))
    let paused = try await system.post("/hash/md5", #"{"string":"held"}"#)
    #expect(paused.contains("\"task_id\":1"))
    // Another kind of the same slots goes on.
    #expect(try await system.post("/hash/sha256?wait=20", #"{"string":"free"}"#).contains("completed"))
    #expect(try await system.get("/task/1").contains("queued"))
    // One of the workers shows what waits.
    let gauge = #"millrace_queue_ready_tasks{type="md5",size="quick",priority="normal"} 1"#
    let isShown = await eventually {
      for place in 2...3 {
        let metrics = try? await shell("curl -s 127.0.0.1:\(system.port + place)/metrics")
        if metrics?.contains(gauge) == true { return true }
      }
      return false
    }
    #expect(isShown)
    try await order("delete from millrace.kind_control")
    #expect(await eventually { (try? await system.get("/task/1"))?.contains("completed") == true })
    // Both are quiet: what comes waits, and is run when one is told to.
    try await order("insert into millrace.worker_control (worker_id, wanted) select id, 1 from millrace.worker")
    #expect(await system.waitFor("claims=nothing", times: 2))
    #expect(try await system.post("/hash/md5?wait=2", #"{"string":"later"}"#).contains("queued"))
    try await order(
      "update millrace.worker_control set wanted = 0 where worker_id = (select min(id) from millrace.worker)")
    #expect(await eventually { (try? await system.get("/task/3"))?.contains("completed") == true })
    // One that is told to end does, and is started anew.
    let before = system.processes("millrace worker")
    try await order(
      "update millrace.worker_control set wanted = 2 where worker_id = (select max(id) from millrace.worker)")
    #expect(await eventually { Set(system.processes("millrace worker")).subtracting(before).count == 1 })
    #expect(await eventually { system.processes("millrace worker").count == 2 })
  }
}
