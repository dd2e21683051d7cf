import Foundation
import Glibc
import Testing

@Suite(.serialized) struct UpTests {
  @Test func startsServesSurvivesCrashesAndStopsInOrder() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready  http://127.0.0.1:\(system.port)"), "\(system.output)")
    let answer = try await system.post("/hash/md5?wait=10", #"{"string":"hello world"}"#)
    #expect(answer.contains("5eb63bbbe01eeed093cb22bb8f5acdc3"))

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

@Suite struct CommandLineTests {
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
  }
}
