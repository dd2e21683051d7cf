import Foundation
import Glibc
import TestSupport
import Testing

@Suite(.serialized, .timeLimit(.minutes(15))) struct UpTests {
  @Test func startsServesSurvivesCrashesAndStopsInOrder() async throws {
    let system = try System(["--verbose"])
    defer { system.remove() }
    try #require(await system.waitFor("Ready  http://127.0.0.1:\(system.port)"), "\(system.output)")
    let answer = try await system.post("/hash/md5?wait=10", #"{"string":"hello world"}"#)
    #expect(answer.contains("5eb63bbbe01eeed093cb22bb8f5acdc3"))
    for role in ["millrace balance", "millrace api", "millrace worker"] {
      let limits = try await shell("grep 'Max open files' /proc/\(system.processes(role)[0])/limits").split(
        separator: " ")
      #expect(limits[3] == limits[4], "\(role) may open fewer files than the system allows")
    }

    // Whatever falls stands up again, and the system with it.
    for role in ["millrace worker", "millrace api", "redis-server", "bin/postgres"] {
      let victims = system.processes(role)
      try #require(!victims.isEmpty, "\(role) does not run")
      kill(victims[0], SIGKILL)
      #expect(await eventually { system.processes(role).contains { !victims.contains($0) } }, "\(role) stays down")
    }
    let isWell = await eventually {
      let fresh = #"{"string":"\#(UInt64.random(in: 1 ... .max))"}"#
      return (try? await system.post("/hash/md5?wait=5", fresh))?.contains("completed") == true
    }
    #expect(isWell)
    #expect(system.output.contains("worker-1 was killed by SIGKILL; it is started again in"))

    kill(system.pid, SIGINT)
    #expect(await system.waitForEnd() == 0)
    let output = system.output
    let order = ["balancer: stopped", "api: stopped", "worker: stopped", "bye bye", "database system is shut down"]
    let places = order.map { output.range(of: $0, options: .backwards)?.lowerBound }
    #expect(!places.contains(nil))
    #expect(places.compactMap { $0 } == places.compactMap { $0 }.sorted())
    #expect(system.processes().isEmpty)
  }

  /// The numbers of a metric in what a role shows at `place`, by what stands in its braces.
  private func numbers(of metric: String, at place: some StringProtocol) async throws -> [String: Double] {
    var found: [String: Double] = [:]
    for line in try await shell("curl -s \(place)/metrics").split(separator: "\n") where line.hasPrefix(metric) {
      let parts = line.split(separator: " ")
      found[String(parts[0].dropFirst(metric.count))] = Double(parts[1])
    }
    return found
  }

  @Test func eachRoleShowsWhatMemoryItMayTakeAndWhatTakesIt() async throws {
    let system = try System(["--memory-mib", "128", "--argon2-memory-budget-mib", "100"])
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let text = String(repeating: "x", count: 1 << 16)
    #expect(try await system.post("/hash/md5?wait=10", #"{"string":"\#(text)"}"#).contains("completed"))
    let places = system.output.matches(of: /(?m)^ +(balancer|api|worker|service)\S* +\d+ +(http:\S+)$/)
    #expect(Set(places.map(\.1)) == ["balancer", "api", "worker", "service"])
    for place in places {
      let limit = try await numbers(of: "millrace_memory_limit_bytes", at: place.2)[""]
      #expect(limit == Double((place.1 == "worker" ? 228 : 128) << 20), "\(place.0)")
      let held = try await numbers(of: "millrace_postgres_connections", at: place.2)
      let (now, most) = (held[""] ?? 0, held["_max"] ?? 0)
      #expect(!["api", "worker"].contains(place.1) || now >= 1 && now <= most, "\(held)")
      let told = try await numbers(of: "millrace_worker_notifications_total", at: place.2)
      #expect(place.1 != "worker" || told[""] ?? 0 > 0, "\(told)")
      let parts = try await numbers(of: "millrace_memory_bytes", at: place.2)
      let (resident, allocated) = (parts[#"{part="resident"}"#] ?? 0, parts[#"{part="allocated"}"#] ?? 0)
      #expect(resident > 1e6 && resident < 128e6 && allocated > 1e5 && allocated < 128e6, "\(parts)")
      let own = ["worker": ["argon2", "tasks"], "api": ["cache"]][place.1] ?? []
      #expect(own.allSatisfy { parts["{part=\"\($0)\"}"] != nil }, "\(parts)")
    }
    // The same again comes out of a cache, and stays in that API process's memory.
    _ = try await system.post("/hash/md5", #"{"string":"\#(text)"}"#)
    var cached: [Double] = []
    for place in places where place.1 == "api" {
      cached.append(try await numbers(of: "millrace_memory_bytes", at: place.2)[#"{part="cache"}"#] ?? 0)
    }
    #expect(cached.contains { $0 > Double(text.utf8.count) }, "\(cached)")
  }

  @Test func onlyTheDatabaseThatIsUsedIsLookedAfter() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    // Autovacuum visits every database that anything was counted of.
    let counted = "select datname from pg_stat_database where xact_commit > 0"
    let names = try await shell("psql -h \(system.folder)/data/run -U millrace -d millrace -qAtc '\(counted)'")
    #expect(names.split(separator: "\n") == ["millrace"])
  }

  @Test func aKilledLauncherLeavesNoOrphanAndItsDataStartAgain() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let second = try System(folder: system.folder)
    #expect(await second.waitForEnd() == 1)
    #expect(second.output.contains("another 'millrace up' (process \(system.pid)) is using"))
    let task = try await system.post("/hash/sha256?wait=10", #"{"string":"kept"}"#)
    #expect(task.contains("completed"))
    kill(system.pid, SIGKILL)
    // Until it has ended the folder is its own, also when nothing of it is to be seen any more.
    _ = await system.waitForEnd()
    #expect(await eventually { system.processes().isEmpty })

    let began = ContinuousClock.now
    let third = try System(folder: system.folder)
    defer { third.remove() }
    try #require(await third.waitFor("Ready"), "\(third.output)")
    #expect(ContinuousClock.now - began < .seconds(20))
    #expect(try await third.get("/task/1").contains(#""original_string":"kept""#))
    kill(third.pid, SIGINT)
    #expect(await third.waitForEnd() == 0)
  }

  @Test func aStartWaitsForThePostgresOfAnEarlierOne() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    kill(system.pid, SIGINT)
    #expect(await system.waitForEnd() == 0)
    // One that lost its launcher and has much to write cannot be had at will: stopped, it is woken by the kernel when
    // the launcher ends, and is soon gone. What tells of it is its number in its folder, and that it stands there.
    let place = system.folder + "/data/postgres"
    let postgres = try ChildProcess.start("/bin/sh", ["-c", "cd '\(place)' && exec sleep 600"])
    defer { kill(postgres, SIGKILL) }
    #expect(
      await eventually {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(postgres)/cwd")) == place
      })
    try "\(postgres)\n".write(toFile: place + "/postmaster.pid", atomically: false, encoding: .utf8)
    let second = try System(folder: system.folder)
    defer { second.remove() }
    #expect(await second.waitFor("waiting for the PostgreSQL of an earlier start, process \(postgres), to end"))
    kill(postgres, SIGKILL)
    _ = ChildProcess.waitForEnd(of: postgres)
    #expect(await second.waitFor("Ready"), "\(second.output)")
    #expect(!second.output.contains("postgres ended with code"))
    // Nor does the Redis of the one take the socket of the other away.
    let socket = second.folder + "/data/run/redis.sock"
    #expect(try await shell("redis-cli -s \(socket) ping") == "PONG\n")
  }

  @Test(arguments: ["a b", "o'clock, 2*2=4"])
  func aFolderOfAnyNameWillDo(name: String) async throws {
    let system = try System(folder: System.makeFolder(name))
    defer { system.remove() }
    #expect(await system.waitFor("Ready"), "\(system.output)")
    let answer = try await system.post("/hash/md5?wait=10", #"{"string":"hello world"}"#)
    #expect(answer.contains("5eb63bbbe01eeed093cb22bb8f5acdc3"))
    // The lines of the table can be pasted as they are.
    let line = try #require(system.output.split(separator: "\n").first { $0.contains("psql -h ") })
    let command = line[line.range(of: "psql")!.lowerBound...]
    #expect(try await shell("\(command) -qAtc 'select count(*) from millrace.task'") == "1\n")
    kill(system.pid, SIGINT)
    #expect(await system.waitForEnd() == 0)
    if let refuge = command.split(separator: " ").first(where: { $0.hasPrefix("/tmp/millrace-") && $0.count == 22 }) {
      _ = try await shell("rm -r \(refuge)")
    }
  }

  @Test func aStrictUmaskAndAClosedFolderHinderNobody() async throws {
    let closed = System.makeFolder("closed")
    chmod(closed, 0o700)
    let system = try System(preparation: "umask 077; cd \(closed)")
    defer { system.remove() }
    #expect(await system.waitFor("Ready"), "\(system.output)")
    #expect(!system.output.contains("could not change directory"))
    kill(system.pid, SIGTERM)
    #expect(await system.waitForEnd() == 0)
    _ = try await shell("rm -r $(dirname \(closed))")
  }

  @Test func allThatIsKeptIsInTheFolderAlsoWhereTheServersUserCannotGo() async throws {
    let closed = System.makeFolder()
    chmod(closed, 0o700)
    mkdir(closed + "/inner", 0o755)
    let elsewhere = "ls -d /var/lib/millrace-* 2>/dev/null; true"
    let before = try await shell(elsewhere)
    for round in 1...2 {
      let system = try System(folder: closed + "/inner")
      #expect(await system.waitFor("Ready"), "\(system.output)")
      #expect(system.output.contains("first start: making a database"))
      #expect(try await system.get("/task/1").contains(#""status":404"#), "round \(round) is no new beginning")
      #expect(try await system.post("/hash/argon2?wait=20", #"{"string":"secret"}"#).contains("completed"))
      #expect(access(closed + "/inner/data/postgres/PG_VERSION", F_OK) == 0)
      kill(system.pid, SIGTERM)
      #expect(await system.waitForEnd() == 0)
      // What the README says to delete.
      _ = try await shell("rm -r \(closed)/inner/data \(closed)/inner/*.log")
    }
    #expect(try await shell(elsewhere) == before)
    _ = try await shell("rm -r \(closed)")
  }

  @Test func whoeverWasToldToOutliveTheTerminalDoes() async throws {
    let system = try System(preparation: "trap '' HUP")
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    for process in [system.pid] + system.processes("millrace ") { kill(process, SIGHUP) }
    #expect(try await system.post("/hash/md5?wait=10", #"{"string":"hello world"}"#).contains("5eb63bbbe01eeed0"))
    #expect(!system.output.contains("stopping"))
    kill(system.pid, SIGTERM)
    #expect(await system.waitForEnd() == 0)
  }

  @Test func aSecondSignalEndsARoleAtOnce() async throws {
    // What runs these tests may ignore it, and that is inherited.
    signal(SIGHUP, SIG_DFL)
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    // A client that waits for a frozen worker keeps the balancer and the API from ending in good order.
    for worker in system.processes("millrace worker") { kill(worker, SIGSTOP) }
    let client = Task { try await system.post("/hash/md5?wait=30", #"{"string":"never"}"#) }
    #expect(await eventually { (try? await system.get("/lb/stats"))?.contains(#""in_flight":1"#) == true })
    // A balancer outlives the terminal that it was started from.
    kill(try #require(system.processes("millrace balance").first), SIGHUP)
    #expect(await system.waitFor("the balancer goes on"))
    for (role, name, signal) in [("millrace balance", "balancer", SIGINT), ("millrace api", "api-1", SIGHUP)] {
      let process = try #require(system.processes(role).first)
      let began = ContinuousClock.now
      kill(process, signal)
      #expect(await system.waitFor("stopping"))
      try await Task.sleep(for: .milliseconds(300))
      kill(process, SIGTERM)
      #expect(await system.waitFor("\(name) ended with code 0"))
      #expect(ContinuousClock.now - began < .seconds(5))
    }
    _ = try? await client.value
  }

  @Test func aRoleThatEndsInGoodOrderIsStartedAgainAtOnceHoweverOften() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    for round in 1...4 {
      let process = try #require(system.processes("millrace api").first)
      kill(process, SIGTERM)
      #expect(await system.waitFor("ended with code 0; it is started again in 20 ms", times: round))
      #expect(await eventually { system.processes("millrace api").first.map { $0 != process } ?? false })
      #expect(await eventually { (try? await system.get("/health"))?.contains("healthy") == true })
    }
    kill(system.pid, SIGTERM)
    #expect(await system.waitForEnd() == 0)
  }

  @Test func whatIsMissingIsSaidWithThePackageThatMendsIt() async throws {
    let folder = System.makeFolder()
    let line = ["up", "--data", folder + "/data", "--port", "29991"]
    let withoutRedis = try await run(line, environment: ["PATH": "/nonexistent"])
    #expect(withoutRedis.code == 75 && withoutRedis.output.contains("apt-get install redis-server"))
    mkdir(folder + "/data/postgres", 0o700)
    try "9\n".write(toFile: folder + "/data/postgres/PG_VERSION", atomically: false, encoding: .utf8)
    let older = try await run(line)
    #expect(older.code == 75 && older.output.contains("apt-get install postgresql-9"))
    for host in ["no.such.host.invalid", "203.0.113.1"] {
      let wrong = try await run(line + ["--host", host])
      #expect(wrong.code == 78 && wrong.output.contains("'\(host)'"), "\(wrong)")
    }
    _ = try await shell("rm -r \(folder)")
  }

  @Test func impatienceEndsEverythingAtOnce() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    // A frozen worker would hold up an orderly stop for half a minute.
    for worker in system.processes("millrace worker") { kill(worker, SIGSTOP) }
    kill(system.pid, SIGINT)
    try #require(await system.waitFor("stopping; press Ctrl-C again"))
    try await Task.sleep(for: .milliseconds(300))
    kill(system.pid, SIGINT)
    #expect(await system.waitForEnd() == 0)
    #expect(system.output.contains("ending everything at once"))
    #expect(await eventually { system.processes().isEmpty })
  }

  @Test func anIPv6AddressIsAnnouncedAsAURL() async throws {
    let system = try System(["--host", "::1"])
    defer { system.remove() }
    #expect(await system.waitFor("Ready  http://[::1]:\(system.port)"), "\(system.output)")
    kill(system.pid, SIGTERM)
    #expect(await system.waitForEnd() == 0)
  }

  @Test func everyLineOfAJSONLogIsJSON() async throws {
    let system = try System(["--logs", "json"])
    defer { system.remove() }
    try #require(await system.waitFor("ready http"), "\(system.output)")
    for number in 0..<20 { _ = try await system.post("/hash/md5", "{\"string\":\"\(number)\"}") }
    kill(system.pid, SIGTERM)
    #expect(await system.waitForEnd() == 0)
    for line in system.output.split(separator: "\n") {
      #expect((try? JSONSerialization.jsonObject(with: Data(line.utf8))) != nil, "\(line)")
    }
  }

  /// Runs a command until it has said `text`, sends it SIGINT, and waits for its end.
  private func interrupted(
    _ line: [String], after text: String, environment: [String: String]
  ) async throws -> (code: Int32, output: String) {
    let log = System.makeFolder() + "/output"
    let output = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    defer { close(output) }
    let pid = try ChildProcess.start(line[0], Array(line.dropFirst()), environment: environment, output: output)
    func said() -> String { (try? String(contentsOfFile: log, encoding: .utf8)) ?? "" }
    #expect(await eventually { said().contains(text) })
    kill(pid, SIGINT)
    let code = await withCheckedContinuation { continuation in
      Thread.detachNewThread { continuation.resume(returning: ChildProcess.waitForEnd(of: pid).code) }
    }
    return (code, said())
  }

  @Test func aMeasurementTakesTheConnectionsThatItWasToldTo() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let folder = system.folder + "/data/run"
    _ = try await shell("createdb -h \(folder) -U millrace bench")
    let (code, output) = try await run(
      ["bench", "--connections", "40", "--tasks", "2000"],
      environment: ["DB_HOST": folder, "DB_USER": "millrace", "DB_NAME": "bench"])
    #expect(code == 0 && output.contains("claim + complete, 40 connections"), "\(output)")

    // It leaves alone what it has not made: here a task that nobody has computed yet.
    for worker in system.processes("millrace worker") { kill(worker, SIGSTOP) }
    _ = try await system.post("/hash/md5", #"{"string":"of a user"}"#)
    let line = ["bench", "--tasks", "100"]
    let server = ["DB_HOST": folder, "DB_USER": "millrace"]
    let refused = try await run(line, environment: server.merging(["DB_NAME": "millrace"]) { $1 })
    #expect(refused.code == 78 && refused.output.hasPrefix("millrace: the database 'millrace' holds a queue"))
    let task = "psql -h \(folder) -U millrace millrace -qAtc 'select count(*), max(state) from millrace.task'"
    #expect(try await shell(task) == "1|0\n")
    // One that it has used before it takes again; without a name it makes one, and drops it.
    #expect(try await run(line, environment: server.merging(["DB_NAME": "bench"]) { $1 }).code == 0)
    let own = try await run(line, environment: server)
    #expect(own.code == 0 && own.output.hasPrefix("in a database of its own, millrace_bench_"), "\(own.output)")
    let count = "select count(*) from pg_database where datname like 'millrace_bench%'"
    let left = "psql -h \(folder) -U millrace millrace -qAtc \"\(count)\""
    #expect(try await shell(left) == "0\n")
    // Nor does it leave one behind when somebody ends it.
    let stopped = try await interrupted(
      [executable, "bench", "--tasks", "2000000"], after: "in a database of its own", environment: server)
    #expect(stopped.code == 130 && stopped.output.hasSuffix("millrace: stopped\n"), "\(stopped.output)")
    #expect(try await shell(left) == "0\n")
    _ = try await shell("createdb -h \(folder) -U millrace other")
    _ = try await shell("psql -h \(folder) -U millrace other -qAtc 'create table somebodys (n int)'")
    let other = try await run(line, environment: server.merging(["DB_NAME": "other"]) { $1 })
    #expect(other.code == 78 && other.output.hasPrefix("millrace: the database 'other' is not empty"))
    #expect(try await shell(task) == "1|0\n")
    for worker in system.processes("millrace worker") { kill(worker, SIGCONT) }
    kill(system.pid, SIGTERM)
    #expect(await system.waitForEnd() == 0)
  }

  @Test func aPortInUseIsSaidClearly() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let (code, output) = try await run(["up", "--data", system.folder + "/other", "--port", "\(system.port)"])
    #expect(code == 1)
    #expect(output == "millrace: port \(system.port) is in use; choose another with --port\n")
    kill(system.pid, SIGTERM)
    #expect(await system.waitForEnd() == 0)
  }

  @Test func aChildThatCannotStartHasTheLastWord() async throws {
    let folder = System.makeFolder()
    try "nonsense 1\n".write(toFile: folder + "/redis.conf", atomically: false, encoding: .utf8)
    let system = try System(folder: folder, ["--redis-conf", folder + "/redis.conf"])
    defer { system.remove() }
    #expect(await system.waitForEnd() == 1)
    let lines = system.output.split(separator: "\n")
    #expect(
      lines.suffix(2) == [
        "millrace: redis ended with code 1; its last line:", "Bad directive or wrong number of arguments",
      ])
    #expect(system.processes().isEmpty)
  }

  @Test func aNameOfThisMachineWillDoAsItsAddress() async throws {
    let system = try System(["--host", "localhost"])
    defer { system.remove() }
    #expect(await system.waitFor("Ready  http://127.0.0.1:\(system.port)"), "\(system.output)")
    kill(system.pid, SIGTERM)
    #expect(await system.waitForEnd() == 0)
  }

  @Test func logsThatGoToAFileAreJSONIfAutomatic() async throws {
    let system = try System(["--logs", "auto"])
    defer { system.remove() }
    try #require(await system.waitFor("ready http"), "\(system.output)")
    kill(system.pid, SIGTERM)
    #expect(await system.waitForEnd() == 0)
    for line in system.output.split(separator: "\n") { #expect(line.hasPrefix("{") && line.hasSuffix("}"), "\(line)") }
  }
}
