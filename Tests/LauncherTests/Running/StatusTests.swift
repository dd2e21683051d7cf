import Foundation
import Glibc
import TaskQueue
import TestSupport
import Testing

@testable import Millrace

@Suite(.serialized, .timeLimit(.minutes(15))) struct StatusTests {
  private func status(_ system: System) async throws -> (code: Int32, output: String) {
    try await run(["status", "--data", system.folder + "/data"])
  }

  @Test func theDoctorLooksAtTheSettingsOfAServer() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let healthy = try await run(["doctor", "--data", system.folder + "/data"]).output
    #expect(healthy.contains(/\nok +database +PostgreSQL \d+.* answers\n/), "\(healthy)")
    #expect(!healthy.contains("alter system"), "\(healthy)")
    let unknown = try await run(["doctor", "--db-host", "127.0.0.1", "--db-port", "\(FreePorts.first())"])
    #expect(unknown.code == 75 && unknown.output.contains("mend it with:  pg_isready"), "\(unknown)")
    let careless = ServerSettings(
      version: "16.1",
      [
        "fsync": "off", "synchronous_commit": "off", "full_page_writes": "on", "autovacuum": "on",
        "min_wal_size": "80", "wal_init_zero": "on",
      ])
    let findings = Doctor.database(careless)
    #expect(findings.filter { $0.remedy != nil }.map(\.weight) == [.missing, .missing, .advice, .advice])
    #expect(Doctor.database(ServerSettings(version: "14.2", [:])).map(\.remedy) == ["upgrade it to 15 or later"])
    // One that was killed leaves its socket behind, and does not keep the next from starting.
    let left = TemporaryFolder()
    try FileManager.default.createDirectory(atPath: left.path + "/run", withIntermediateDirectories: true)
    try "".write(toFile: left.path + "/run/.s.PGSQL.5432", atomically: false, encoding: .utf8)
    let quiet = try await run(["doctor", "--data", left.path]).output
    #expect(!quiet.contains("database"), "\(quiet)")
    #expect(findings[3].remedy?.contains("alter system set min_wal_size = '1GB'") == true)
  }

  @Test func theStatusShowsWhoRunsHowTheyAreAndTheQueue() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let well = try await status(system)
    #expect(well.code == 0, "\(well.output)")
    let rows = well.output.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
    #expect(rows.map(\.first) == ["up", "postgres", "redis", "api-1", "worker-1", "service-1", "balancer", "0"])
    #expect(rows[0][1] == "\(system.pid)")
    for row in rows.dropLast() { #expect(row[2] == "well", "\(row)") }
    #expect(rows[6][3] == "http://127.0.0.1:\(system.port)")
    #expect(well.output.hasSuffix("  0 queued, 0 to be tried again later, 0 running (worker-1 0)\n"))

    // One that answers nobody, with a task that nobody takes.
    let worker = try #require(pid_t(rows[4][1]))
    kill(worker, SIGSTOP)
    _ = try await system.post("/hash/md5", #"{"string":"waits"}"#)
    let ill = try await status(system)
    #expect(ill.code == 1)
    #expect(
      ill.output.hasSuffix(
        "1 queued, 0 to be tried again later, 0 running (worker-1 0)\nmillrace: not well: worker-1\n"))
    #expect(ill.output.contains("no answer"))
    // One that has fallen has another number when it is well again.
    kill(worker, SIGKILL)
    #expect(await eventually { (try? await status(system))?.code == 0 })
    #expect(try await !status(system).output.contains(" \(worker) "))

    let postgres = try system.postgres()
    kill(postgres, SIGSTOP)
    let frozen = try await status(system)
    kill(postgres, SIGCONT)
    #expect(frozen.code == 1 && frozen.output.contains(/postgres +\d+ +no answer/), "\(frozen.output)")

    kill(system.pid, SIGINT)
    #expect(await system.waitForEnd() == 0)
    let none = try await status(system)
    #expect(none.code == 75)
    #expect(none.output == "millrace: no 'millrace up' is using the folder '\(system.folder)/data'\n")
  }

  @Test func aDatabaseThatRefusesEverythingSaysSoInFewLinesAndWithoutStatements() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    // Each is refused, with a value of a user in the statement and in the details.
    let refused = """
      create table pg_temp.t (a text check (a = '')); \\set ON_ERROR_STOP off
      """
    let file = system.folder + "/refused.sql"
    let one = "insert into pg_temp.t values ('hunter2');\n"
    try (refused + "\n" + String(repeating: one, count: 5000)).write(toFile: file, atomically: false, encoding: .utf8)
    _ = try await shell("psql -h \(system.folder)/data/run -U millrace millrace -q -f \(file) 2>/dev/null")
    kill(system.pid, SIGINT)
    #expect(await system.waitForEnd() == 0)
    let output = system.output
    #expect(!output.contains("hunter2"))
    let lines = output.split(separator: "\n").filter { $0.contains("violates check constraint") }.count
    #expect(lines >= 50 && lines < 2500, "\(lines)")
    let told = output.matches(of: /([0-9]+) lines of postgres were suppressed/).compactMap { Int($0.1) }.reduce(0, +)
    #expect(lines + told >= 5000, "\(lines) and \(told)")
  }

  @Test func aStartAndAStopSayNothingThatNobodyHasToRead() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    kill(system.pid, SIGINT)
    #expect(await system.waitForEnd() == 0)
    for line in system.output.split(separator: "\n") {
      for speaker in ["initdb ", "postgres |", "redis "] { #expect(!line.hasPrefix(speaker), "\(line)") }
      #expect(!line.contains("exit code") && !line.contains("WARNING"), "\(line)")
    }
  }
}
