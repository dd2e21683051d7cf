import Basics
import Glibc
import Reactor
import TestSupport
import Testing

/// The numbers that `sql` gives.
private func numbers(_ system: System, _ sql: String) async throws -> [Int] {
  let folder = system.folder + "/data/run"
  return try await shell("psql -h \(folder) -U millrace -d millrace -qAtc '\(sql)'").split(separator: "\n").compactMap {
    Int($0)
  }
}

/// What is left in the tables after a crowd: tasks, and how many of them are completed.
private func tasks(_ system: System) async throws -> [Int] {
  try await numbers(system, "select count(*) from millrace.task; select count(*) from millrace.task where state = 2")
}

/// What must hold however it came about: no task is lost between the tables, none waited that nobody was told of, and
/// when all is done the system is at rest.
private func checkQueue(_ system: System) async throws {
  let strays = """
    select count(*) from millrace.task t where state = 0
    and not exists (select from millrace.ready r where r.id = t.id)
    and not exists (select from millrace.scheduled s where s.id = t.id)
    and not exists (select from millrace.lease l where t.id = any(l.ids))
    """
  #expect(try await numbers(system, strays.replacing("\n", with: " ")) == [0])
  let workers = system.output.matches(of: /worker-\d +\d+ +(http:\S+)/)
  #expect(!workers.isEmpty)
  for worker in workers {
    let metrics = try await shell("curl -s \(worker.1)/metrics")
    #expect(metrics.contains("millrace_worker_safety_sweep_finds_total 0\n"), "\(worker.1)")
  }
  let committed = "select xact_commit from pg_stat_database where datname = current_database()"
  // Counts of transactions come late, and PostgreSQL cleans up behind a load: it may take a while to be at rest.
  let rests = await eventually {
    let before = (try? await numbers(system, committed).first) ?? 0
    try? await Task.sleep(for: .seconds(3))
    return ((try? await numbers(system, committed).first) ?? .max) - before < 60
  }
  #expect(rests)
}

@Suite(.serialized, .timeLimit(.minutes(15))) struct ChaosTests {
  @Test func `I1 I2 I3 ten thousand tasks complete once each although a worker and an API are killed meanwhile`()
    async throws
  {
    let system = try System(["--api", "3", "--workers", "3"])
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let outcome = try await onReactor { reactor -> (correct: Int, wrong: [String]) in
      let crowd = Crowd(port: system.port, prefix: "killed", total: 10_000)
      await crowd.submitAll(
        width: 64,
        atHalf: {
          for role in ["millrace worker", "millrace api"] { kill(system.processes(role)[0], SIGKILL) }
        }, on: reactor)
      await crowd.checkAll(width: 64, on: reactor)
      return (crowd.correct, crowd.wrong)
    }
    #expect(outcome.correct == 10_000, "\(outcome.wrong.prefix(3))")
    #expect(try await tasks(system) == [10_000, 10_000])
    try await checkQueue(system)
  }

  @Test func `a thousand identical submissions at once through the whole system make one task`() async throws {
    let system = try System(["--api", "3"])
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let ids = try await onReactor { reactor -> Set<Int64> in
      let same = SameCrowd(port: system.port)
      await same.submit(count: 1000, on: reactor)
      return same.ids
    }
    #expect(ids.subtracting([0]).count <= 1)
    #expect(try await tasks(system)[0] == 1)
    try await checkQueue(system)
  }

  @Test func `Redis frozen and then killed under load costs time, never an error`() async throws {
    let system = try System(["--api", "2"])
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let outcome = try await onReactor { reactor -> (statuses: [Int: Int], correct: Int, wrong: [String]) in
      let crowd = Crowd(port: system.port, prefix: "frozen", total: 3000)
      await crowd.submitAll(
        width: 32,
        atHalf: {
          let redis = system.processes("redis-server")[0]
          kill(redis, SIGSTOP)
          // The launcher sees it end only when it is killed.
          Task.detached {
            try? await Task.sleep(for: .milliseconds(700))
            kill(redis, SIGKILL)
          }
        }, on: reactor)
      await crowd.checkAll(width: 32, on: reactor)
      return (crowd.statuses, crowd.correct, crowd.wrong)
    }
    #expect(outcome.statuses.keys.allSatisfy { $0 == 200 || $0 == 202 }, "\(outcome.statuses)")
    #expect(outcome.correct == 3000, "\(outcome.wrong.prefix(3))")
    #expect(await system.waitFor("redis was killed", times: 1))
    try await checkQueue(system)
  }

  @Test func `PostgreSQL restarted under load: at most 503 with Retry-After, and nothing acknowledged is lost`()
    async throws
  {
    let system = try System(["--api", "2", "--workers", "2"])
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let postgres = try system.postgres()
    let outcome = try await onReactor {
      reactor -> (statuses: [Int: Int], unhelpful: Int, correct: Int, wrong: [String]) in
      let crowd = Crowd(port: system.port, prefix: "restarted", total: 3000)
      await crowd.submitAll(width: 32, atHalf: { kill(postgres, SIGINT) }, on: reactor)
      await crowd.checkAll(width: 32, on: reactor)
      return (crowd.statuses, crowd.unhelpful, crowd.correct, crowd.wrong)
    }
    #expect(outcome.statuses.keys.allSatisfy { [200, 202, 503].contains($0) }, "\(outcome.statuses)")
    #expect(outcome.unhelpful == 0)
    #expect(outcome.correct == 3000, "\(outcome.wrong.prefix(3))")
    #expect(try await tasks(system) == [3000, 3000])
    try await checkQueue(system)
  }
}
