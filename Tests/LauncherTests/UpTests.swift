import Foundation
import Glibc
import TestSupport
import Testing

@Suite(.serialized, .timeLimit(.minutes(5))) struct UpTests {
  @Test func startsServesSurvivesCrashesAndStopsInOrder() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready  http://127.0.0.1:\(system.port)"), "\(system.output)")
    let answer = try await system.post("/hash/md5?wait=10", #"{"string":"hello world"}"#)
    #expect(answer.contains("5eb63bbbe01eeed093cb22bb8f5acdc3"))
    for role in ["millrace balance", "millrace api", "millrace worker"] {
      let limits = try shell("grep 'Max open files' /proc/\(system.processes(role)[0])/limits").split(separator: " ")
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

  @Test func onlyTheDatabaseThatIsUsedIsLookedAfter() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    // Autovacuum visits every database that anything was counted of.
    let counted = "select datname from pg_stat_database where xact_commit > 0"
    let names = try shell("psql -h \(system.folder)/data/run -U millrace -d millrace -qAtc '\(counted)'")
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
    // It loses its launcher and cannot end yet, as if it had much to write.
    let postgres = try #require(system.processes("bin/postgres").first)
    kill(postgres, SIGSTOP)
    kill(system.pid, SIGKILL)
    // Until it has ended the folder is its own.
    _ = await system.waitForEnd()
    let second = try System(folder: system.folder)
    defer { second.remove() }
    #expect(await second.waitFor("waiting for the PostgreSQL of an earlier start, process \(postgres), to end"))
    kill(postgres, SIGCONT)
    #expect(await second.waitFor("Ready"), "\(second.output)")
    #expect(!second.output.contains("postgres ended with code"))
    // Nor does the Redis of the one take the socket of the other away.
    let socket = second.folder + "/data/run/redis.sock"
    #expect(try shell("redis-cli -s \(socket) ping") == "PONG\n")
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
    #expect(try shell("\(command) -qAtc 'select count(*) from millrace.task'") == "1\n")
    kill(system.pid, SIGINT)
    #expect(await system.waitForEnd() == 0)
    if let refuge = command.split(separator: " ").first(where: { $0.hasPrefix("/tmp/millrace-") && $0.count == 22 }) {
      _ = try shell("rm -r \(refuge)")
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
    _ = try shell("rm -r $(dirname \(closed))")
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
    for host in ["localhost", "203.0.113.1"] {
      let wrong = try await run(line + ["--host", host])
      #expect(wrong.code == 78 && wrong.output.contains("'\(host)'"), "\(wrong)")
    }
    _ = try shell("rm -r \(folder)")
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

  @Test func aMeasurementTakesTheConnectionsThatItWasToldTo() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let folder = system.folder + "/data/run"
    _ = try shell("createdb -h \(folder) -U millrace bench")
    let (code, output) = try await run(
      ["bench", "--connections", "40", "--tasks", "2000"],
      environment: ["DB_HOST": folder, "DB_USER": "millrace", "DB_NAME": "bench"])
    #expect(code == 0 && output.contains("claim + complete, 40 connections"), "\(output)")
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

  @Test func aRoleThatCannotStartEndsTheStartWithItsReason() async throws {
    let system = try System(["--argon2-memory-kib", "8"])
    defer { system.remove() }
    #expect(await system.waitForEnd() == 1)
    #expect(system.output.contains("argon2 needs at least 8 KiB of memory for each thread"))
    #expect(system.output.contains("worker-1 did not become ready"))
    #expect(system.processes().isEmpty)
  }
}

@Suite(.timeLimit(.minutes(5))) struct CommandLineTests {
  @Test func exitCodesSayWhatWasWrong() async throws {
    #expect(try await run(["version"]).code == 0)
    #expect(try await run(["--help"]).output.hasPrefix("Millrace: a load balancer"))
    #expect(try await run([]).code == 0)
    for command in ["up", "balance", "api", "worker", "migrate", "doctor", "healthcheck", "config"] {
      let (code, output) = try await run([command, "--help"])
      #expect(code == 0 && output.contains("Usage: millrace \(command)"))
    }
    let typo = try await run(["wroker"])
    #expect(typo.code == 2 && typo.output == "millrace: unknown command 'wroker'; did you mean 'worker'?\n")
    #expect(try await run(["balance", "extra", "--backend", "127.0.0.1:1"]).code == 2)
    #expect(try await run(["balance"]).code == 78)
    #expect(try await run(["api", "--listen", "127.0.0.1:0"]).output.contains("openssl rand -hex 32"))
    #expect(try await run(["version"], environment: ["MILLRACE_NONSENSE": "1"]).code == 0)
    #expect(try await run(["config", "api"], environment: ["MILLRACE_LOGZ": "1"]).code == 78)
    #expect(try await run(["healthcheck", "http://127.0.0.1:1/readyz"]).code == 1)
    #expect(try await run(["migrate", "--db-host", "/nonexistent", "--db-connection-retries", "0"]).code == 75)
    #expect(try await run(["exec-child"]).code == 1)
    let key = ["SECRET_KEY": String(repeating: "0", count: 64)]
    let greedy = try await run(["worker", "--argon2-memory-budget-mib", "63"], environment: key)
    #expect(greedy.code == 78 && greedy.output.contains("ARGON2_MEMORY_BUDGET_MIB"))
    #expect(try await run(["config", "--port", "9000"]).output.contains("millrace config balance --port 9000"))
    #expect(try await run(["config", "api", "extra"]).code == 2)
    let many = (0..<1025).map { "127.0.0.1:\($0 + 1)" }.joined(separator: ",")
    #expect(try await run(["balance", "--backend", many]).code == 78)
    // The examples' programs are missing, and what 'up' needs of PATH.
    let doctor = try await run(["doctor"], environment: ["PATH": "/nonexistent"])
    #expect(doctor.code == 75 && doctor.output.contains("1 of the things above must be mended"))
  }

  @Test func aTakenAddressIsNamedWithItsFlag() async throws {
    let holder = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(holder) }
    #expect(listen(holder, 1) == 0)
    var address = sockaddr_in()
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = getsockname(holder, $0, &size) }
    }
    let port = UInt16(bigEndian: address.sin_port)
    let key = ["SECRET_KEY": String(repeating: "0", count: 64)]
    for line in [["api", "--listen", "127.0.0.1:\(port)"], ["worker", "--listen", "127.0.0.1:\(port)"]] {
      let (code, output) = try await run(line, environment: key)
      #expect(code == 1)
      #expect(output.contains("cannot listen on 127.0.0.1:\(port): Address already in use; see --listen"), "\(output)")
    }
    let (code, output) = try await run(["balance", "--port", "\(port)", "--backend", "127.0.0.1:1"])
    #expect(code == 1 && output.contains("127.0.0.1:\(port): Address already in use; see --host and --port"))
  }

  @Test func aSignalEndsAToolAsUsual() async throws {
    let nothing = open("/dev/null", O_WRONLY | O_CLOEXEC)
    let arguments = ["migrate", "--db-host", "/nonexistent", "--db-connection-retries", "1000"]
    let pid = try ChildProcess.start(executable, arguments, output: nothing)
    close(nothing)
    try await Task.sleep(for: .milliseconds(300))
    // As Ctrl-C does; a runner in the background may have that one ignored.
    kill(pid, SIGTERM)
    #expect(ChildProcess.waitForEnd(of: pid).signal == SIGTERM)
  }
}
