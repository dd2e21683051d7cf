import Foundation
import Glibc
import TestSupport
import Testing

/// `millrace tasks`, `queue` and `workers` against a whole system.
@Suite(.serialized, .timeLimit(.minutes(15))) struct QueueToolTests {
  private struct Tool {
    let system: System

    /// What the command prints, both outputs together, and its code.
    func callAsFunction(_ line: String) async throws -> (text: String, code: Int32) {
      let words = line.split(separator: " ").map(String.init)
      let (code, output) = try await run(words + ["--data", "\(system.folder)/data"])
      return (output, code)
    }
  }

  @Test func tasksAreListedCancelledRetriedAndPurged() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let tool = Tool(system: system)
    #expect(try await system.post("/hash/md5?wait=20", #"{"string":"a"}"#).contains("completed"))
    #expect(try await tool("queue pause md5") == ("md5: paused, no limit\n", 0))
    #expect(await system.waitFor("orders were given"))
    for string in ["b", "c"] {
      #expect(try await system.post("/hash/md5?priority=low", #"{"string":"\#(string)"}"#).contains("queued"))
    }
    let stats = try await tool("queue stats --json off").text
    #expect(stats.contains(/md5 +quick +low +2 .*paused, no limit/), "\(stats)")
    #expect(stats.contains("2 queued, 0 scheduled, 0 running; newest task 3\n"), "\(stats)")
    let json = try await tool("queue stats").text
    #expect(json.contains(#""type":"md5","size":"quick","priority":"low","queued":2,"#), "\(json)")

    let list = try await tool("tasks ls --status queued --json off").text
    #expect(
      list.hasPrefix("id  type  priority  status  attempts  created") && list.contains("\n3   md5   low"), "\(list)")
    #expect(try await tool("tasks ls --limit 1").text.hasPrefix(#"{"id":3,"type":"md5","status":"queued""#))
    #expect(try await tool("tasks show 1").text.contains(#""original_string":"a""#))
    let missing = try await tool("tasks show 99 1")
    #expect(missing.code == 1 && missing.text.contains("99: there is no such task"))
    #expect(try await tool("tasks cancel 2 1") == ("Cancelled 1 of 2.\nmillrace: 1: over already, or not there\n", 1))
    let watched = try await tool("tasks watch 2")
    #expect(watched.code == 1 && watched.text.hasSuffix("millrace: the task is cancelled\n"))

    #expect(try await tool("queue resume md5") == ("md5: runs, no limit\n", 0))
    #expect(try await tool("tasks watch 3").code == 0)
    #expect(try await tool("tasks retry --status cancelled --dry-run") == ("1 would be begun anew.\n", 0))
    #expect(try await tool("tasks retry 2") == ("Begun anew: 1 of 1.\n", 0))
    #expect(try await tool("tasks watch 2").code == 0)
    #expect(try await tool("tasks retry 2").code == 1)
    #expect(try await tool("tasks purge --dry-run") == ("0 would be purged.\n", 0))
    #expect(try await tool("tasks purge --older-than 0 --dry-run") == ("3 would be purged.\n", 0))
    #expect(try await tool("tasks purge --older-than 0 --status completed") == ("3 of 3 purged.\n", 0))
    #expect(try await tool("tasks ls") == ("", 0))
  }

  @Test func workersAreQuietedAndStopped() async throws {
    let system = try System(["--workers", "2"])
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let tool = Tool(system: system)
    let list = try await tool("workers ls --json off").text
    #expect(list.contains(/\n[12] +worker-1 +run +- +0/) && list.contains(/\n[12] +worker-2 +run +- +0/), "\(list)")
    for name in ["worker-1", "worker-2"] {
      let told = try await tool("workers quiet \(name)")
      #expect(told.code == 0 && told.text.contains("claims nothing more"), "\(told)")
    }
    #expect(await system.waitFor("claims=nothing", times: 2))
    #expect(try await system.post("/hash/md5?wait=1", #"{"string":"a"}"#).contains("queued"))
    let resumed = try await tool("workers resume worker-2")
    #expect(resumed.code == 0)
    #expect(try await tool("tasks watch 1").code == 0)
    // Two of its long slots may claim; the third task waits, and is run by the other worker once that claims again.
    #expect(try await tool("workers limit worker-2 2").text.contains("runs at most 2 long and 2 heavy tasks at once"))
    #expect(await system.waitFor("slots_max=2"))
    let token = try await system.get("/token").split(separator: "\"").last { $0.hasPrefix("ey") } ?? ""
    for _ in 2...4 {
      let longtask =
        "-H 'Authorization: \(token)' -d '{\"task_type\":\"io_intensive\",\"duration\":300}' "
        + "-H 'Content-Type: application/json' http://127.0.0.1:\(system.port)/longtask"
      #expect(try await shell("curl -s \(longtask)").contains("queued"))
    }
    #expect(await eventually { (try? await tool("workers ls").text)?.contains(#""running":2"#) == true })
    #expect(try await system.get("/task/4").contains("queued"))
    #expect(try await tool("workers ls --json off").text.contains(#/worker-2 +run +2 +2 /#))
    #expect(try await tool("workers resume worker-1").code == 0)
    #expect(await eventually { (try? await system.get("/task/4"))?.contains("running") == true })
    for id in 2...4 { #expect(try await tool("tasks cancel \(id)").code == 0) }
    #expect(try await tool("tasks purge 2 3 4 1 --dry-run") == ("4 would be purged.\n", 0))
    #expect(try await tool("tasks purge 2 3") == ("2 of 2 purged.\n", 0))
    let unknown = try await tool("tasks purge 2 4")
    #expect(unknown.code == 1 && unknown.text == "1 of 2 purged.\nmillrace: 2: not over, or not there\n")
    let before = system.processes("millrace worker")
    #expect(try await tool("workers stop worker-1").code == 0)
    #expect(await eventually { Set(system.processes("millrace worker")).subtracting(before).count == 1 })
    let none = try await tool("workers stop worker-9")
    #expect(none.code == 1 && none.text.contains("there is no worker 'worker-9'"))
  }

  @Test(arguments: [
    ("tasks", "'millrace tasks' does one of ls, show"), ("tasks lst", "did you mean 'ls'?"),
    ("tasks show x", "'x' is no number of a task"), ("tasks show", "needs the number"),
    ("tasks retry --status running", "cannot be retried"), ("tasks purge --status queued", "cannot be purged"),
    ("tasks ls 3", "takes no argument '3'"), ("queue pause", "needs a kind"),
    ("queue pause md4", "did you mean 'md5'?"),
    ("queue limit md5 3", "cannot be limited"), ("queue limit argon2 x", "neither 0 to 100000 nor 'off'"),
    ("queue limit argon2 -1", "unknown flag '-1'"), ("workers quiet", "needs the name or number"),
    ("workers limit worker-1", "needs the name or number of a worker, and"),
    ("workers limit worker-1 x", "neither 0 to 100000 nor 'off'"), ("tasks purge 1 --status failed", "not both"),
    ("tasks purge 1 --older-than 5", "not both"),
    ("workers ls x", "takes no argument"), ("queue stats 1 2 3", "takes no argument '3'"),
  ])
  func aWrongLineIsExplained(line: String, hint: String) async throws {
    let (code, output) = try await run(line.split(separator: " ").map(String.init))
    #expect(code == 2 && output.contains(hint), "\(output)")
  }

  @Test func withoutAPostgresThatIsSaid() async throws {
    let (code, output) = try await run(["tasks", "ls", "--db-host", "127.0.0.1", "--db-port", "\(FreePorts.first())"])
    #expect(code == 75 && output.contains("PostgreSQL: "), "\(output)")
  }
}
