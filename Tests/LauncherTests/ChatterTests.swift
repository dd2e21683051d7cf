import Testing

@testable import Launcher

@Suite(.timeLimit(.minutes(15))) struct ChatterTests {
  @Test(arguments: [
    ("initdb", "syncing data to disk ... ok", true),
    ("postgres", "LOG:  database system is ready to accept connections", true),
    ("postgres", #"LOG:  background worker "logical replication launcher" (PID 352) exited with exit code 1"#, true),
    ("postgres", "LOG:  server process (PID 7) was terminated by signal 9: Killed", false),
    ("postgres", "LOG:  database system was interrupted; last known up at 2026-11-26 20:27:01 UTC", false),
    ("postgres", "WARNING:  there is no transaction in progress", false),
    ("postgres", "PANIC:  could not write to file: No space left on device", false),
    ("redis", "342:C 26 Nov 2026 20:27:01.703 # oO0OoO0OoO0Oo Redis is starting oO0OoO0OoO0Oo", true),
    ("redis", "342:M 26 Nov 2026 20:27:01.703 * Running mode=standalone, port=0.", true),
    ("redis", "342:signal-handler (1795724841) Received SIGTERM scheduling shutdown...", true),
    ("redis", "342:M 26 Nov 2026 20:27:21.771 # Redis is now ready to exit, bye bye...", true),
    ("redis", "342:M 26 Nov 2026 20:27:21.771 # Error allocating memory", false),
    ("redis", "Bad directive or wrong number of arguments", false),
    ("api-1", "LOG:  database system is ready to accept connections", false),
  ])
  func isWhatSaysThatAllIsWell(name: String, line: String, isChatter: Bool) {
    #expect(Chatter.contains(line, of: name) == isChatter)
  }

  @Test func aListOfProcessesIsReadAsItWasWritten() throws {
    let list = ProcessList(
      launcher: 7, run: "/home/me/my projects/.millrace/100%0A\t\n/run",
      entries: [
        .init(
          name: "postgres", pid: 8, readiness: .postmaster(pidFile: "/a=b/postmaster.pid"), place: "psql -h '/a b'"),
        .init(name: "api-1", pid: 9, readiness: try #require(Readiness("http=unix:/run/a.sock")), place: "http://x"),
        .init(name: "redis", pid: 0, readiness: try #require(Readiness("redis=127.0.0.1:1")), place: ""),
      ])
    #expect(ProcessList(list.text) == list)
    for wrong in ["", "x\t/run\n", "7\t/run\napi-1\t8\tnone=1\tx\n", "7\t/run\napi-1\t8\n"] {
      #expect(ProcessList(wrong) == nil)
    }
  }
}
