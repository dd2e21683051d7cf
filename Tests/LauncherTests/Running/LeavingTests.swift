import Foundation
import Glibc
import TestSupport
import Testing

@Suite(.serialized, .timeLimit(.minutes(15))) struct LeavingTests {
  @Test func aWorkerThatIsStoppedWhileItRegistersLeavesNoRow() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let place = ["-h", system.folder + "/data/run", "-U", "millrace", "-d", "millrace", "-qAt"]
    let psql = "psql \(place.joined(separator: " ")) -c"
    // Whoever registers waits for this transaction, which ends as soon as there is nothing more to read for it.
    var ends: [CInt] = [-1, -1]
    try #require(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0)
    let holder = try ChildProcess.start("psql", place, input: ends[0])
    close(ends[0])
    let lock = "begin; lock table millrace.worker in share mode;\n"
    #expect(write(ends[1], lock, lock.utf8.count) == lock.utf8.count)
    let isLocked = "select count(*) from pg_locks where relation = 'millrace.worker'::regclass and mode = 'ShareLock'"
    try #require(await eventually { (try? await shell("\(psql) \"\(isLocked)\"")) == "1\n" })

    let log = system.folder + "/late.log"
    let output = open(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
    let worker = try ChildProcess.start(
      executable, ["worker", "--worker-name", "late", "--logs", "text"],
      environment: [
        "DB_HOST": system.folder + "/data/run", "DB_USER": "millrace", "REDIS_URL": "off",
        "SECRET_KEY_FILE": system.folder + "/data/secret.key",
      ], output: output)
    close(output)
    let isWaiting = """
      select count(*) from pg_stat_activity where query like 'insert into millrace.worker (name)%'
      and wait_event_type = 'Lock'
      """
    try #require(await eventually { (try? await shell("\(psql) \"\(isWaiting)\"")) == "1\n" })
    // By a shell of its own: in a whole run this test may not come to its turn for longer than a worker waits. One that
    // does not wait for its row at all has ended by the time that the transaction does.
    let wait = "for i in $(seq 3000); do grep -q stopping \(log) && break; sleep 0.02; done; sleep 0.3"
    _ = try await shell("kill -TERM \(worker); \(wait); kill -KILL \(holder)")
    #expect(ChildProcess.waitForEnd(of: worker).code == 0)
    _ = ChildProcess.waitForEnd(of: holder)
    close(ends[1])
    let ghosts = "select count(*) from millrace.worker where name = 'late' and not has_left"
    let said = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
    #expect(try await shell("\(psql) \"\(ghosts)\"") == "0\n", "\(said)")
    #expect(try await shell("\(psql) \"\(ghosts.replacing("not has_left", with: "has_left"))\"") == "1\n")
  }

  @Test func aWorkerThatIsStoppedWhilePostgresIsFrozenDoesNotWaitForIt() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    for number in 0..<20 { _ = try await system.post("/hash/argon2", #"{"string":"\#(number)"}"#) }
    // It computes, and soon has something to store.
    let psql = "psql -h \(system.folder)/data/run -U millrace -d millrace -qAtc"
    try #require(await eventually { (try? await shell("\(psql) 'select count(*) from millrace.lease'")) == "1\n" })
    let server = try system.postgres()
    let frozen = try await [server] + shell("pgrep -P \(server)").split(separator: "\n").compactMap { pid_t($0) }
    #expect(frozen.count > 5)
    for process in frozen { kill(process, SIGSTOP) }
    defer { for process in frozen { kill(process, SIGCONT) } }
    let worker = try #require(system.processes("millrace worker").first)
    let began = ContinuousClock.now
    kill(worker, SIGTERM)
    #expect(await eventually { !system.processes("millrace worker").contains(worker) })
    let span = ContinuousClock.now - began
    #expect(span < .seconds(10), "\(span)")
    // What it said last may still be on its way through the launcher's pipe.
    #expect(await system.waitFor("tasks were still under way; other workers take them over"), "\(system.output)")
    for process in frozen { kill(process, SIGCONT) }
    // Nothing was lost: another one does it.
    let isDone = await eventually {
      for id in 1...20 {
        let task = try? await shell("curl -s 127.0.0.1:\(system.port)/task/\(id)")
        if task?.contains("completed") != true { return false }
      }
      return true
    }
    #expect(isDone)
  }
}
