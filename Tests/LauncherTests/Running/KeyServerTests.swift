import Foundation
import Glibc
import TestSupport
import Testing

/// Keys and their versions in a whole system, as people use it.
@Suite(.serialized, .timeLimit(.minutes(5))) struct KeyServerTests {
  private static func curl(_ system: System, _ line: String) async throws -> String {
    try await shell("curl -s --max-time 20 http://127.0.0.1:\(system.port)\(line)")
  }

  private static func put(_ system: System, _ key: String, _ value: String, _ method: String = "PUT") async throws
    -> String
  {
    try await curl(
      system, "/put/\(key) -X \(method) -H 'Content-Type: application/json' -d '{\"value\": \(value)}'")
  }

  /// The process of the server with this name, as the launcher's list says.
  private static func pid(of name: String, _ system: System) throws -> pid_t {
    let list = system.output.matches(of: try Regex("(?m)^ +\(name) +([0-9]+) +http", as: (Substring, Substring).self))
    return try #require(list.last.flatMap { pid_t($0.1) })
  }

  @Test func aSystemAnswersForKeysThroughItsBalancerAndForgetsNoneWhateverEnds() async throws {
    var system = try System(["--kv", "2"])
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    // The lines of the system before this one.
    let created = try await Self.put(system, "user1", #"{"name": "Alice"}"#)
    #expect(
      created.hasPrefix(#"{"operation":"create","key":"user1","version":1,"total_versions":1,"server_used":"server-"#))
    let updated = try await Self.put(system, "user1", #"{"name": "Bob"}"#, "POST")
    #expect(
      updated.hasPrefix(
        #"{"operation":"update","key":"user1","new_version":2,"previous_version":1,"total_versions":2,"server_used":"#),
      "\(updated)")
    let newest = try await Self.curl(system, "/get/user1")
    #expect(newest.hasPrefix(#"{"value":{"name": "Bob"},"version":2,"timestamp":""#), "\(newest)")
    #expect(newest.contains(#""source":"cache","server_used":"server-"#), "\(newest)")
    #expect(try await Self.curl(system, "'/get/user1?version=1'").hasPrefix(#"{"value":{"name": "Alice"},"version":1"#))
    let servers = try await Self.curl(system, "/servers")
    #expect(servers.ranges(of: #""state":"up""#).count == 2 && servers.contains(#""count":2"#), "\(servers)")
    let used = try #require(newest.firstMatch(of: /"server_used":"(server-([12]):[0-9]+)"/))
    for name in [used.1, used.1.prefix { $0 != ":" }] {
      let cache = try await Self.curl(system, "'/cache/stats?server=\(name)'")
      #expect(cache.contains(#""current_size":1,"max_size":10000,"is_full":false,"expiration_minutes":30"#), "\(cache)")
      let database = try await Self.curl(system, "'/db/stats?server=\(name)'")
      #expect(database.contains(#""total_keys":1,"total_versions":2,"file_size_bytes":"#), "\(database)")
    }
    let wrong = try await Self.curl(system, "'/db/stats?server=server-9:8080'")
    #expect(wrong.contains(#""status":400"#) && wrong.contains("server-1, server-2"), "\(wrong)")
    // The other caches and tasks are where they were.
    #expect(try await Self.curl(system, "/cache/stats").contains(#""hit_rate""#))
    #expect(try await system.post("/hash/md5?wait=10", #"{"string":"a"}"#).contains("completed"))

    for number in 0..<40 { _ = try await Self.put(system, "k\(number)", "\(number)") }
    kill(try Self.pid(of: "server-\(used.2)", system), SIGKILL)
    for number in 0..<40 {
      // Whoever had it: the other one goes on at once.
      let answer = try await Self.curl(system, "/get/k\(number)")
      #expect(answer.hasPrefix(#"{"value":\#(number),"version":1,"#), "\(answer)")
      #expect(try await Self.put(system, "k\(number)", "1").contains(#""new_version":2"#))
    }
    #expect(try await Self.curl(system, "'/keys?prefix=k&limit=50'").ranges(of: #""version":2"#).count == 40)
    let store = system.folder + "/data/kv"
    #expect(kill(system.pid, SIGTERM) == 0)
    #expect(await system.waitForEnd() == 0)

    // What was there is there again, in as many partitions, whatever else is wished.
    let folder = system.folder
    system = try System(folder: folder, ["--kv", "1"])
    try #require(await system.waitFor("Ready"), "\(system.output)")
    #expect(try await Self.curl(system, "'/keys?limit=50'").ranges(of: #""key""#).count == 41)
    #expect(try await Self.put(system, "k1", "2").contains(#""new_version":3"#))
    #expect(kill(system.pid, SIGTERM) == 0)
    #expect(await system.waitForEnd() == 0)
    _ = try await shell("rm -r '\(store)'")
    _ = try await shell("'\(executable)' kv import --partitions 3 --kv-data '\(store)' </dev/null")
    system = try System(folder: folder, ["--kv", "2"])
    try #require(await system.waitFor("Ready"), "\(system.output)")
    #expect(try await Self.curl(system, "/servers").contains(#""partition_count":3"#))
    #expect(try await Self.put(system, "k1", "1").contains(#""version":1"#))
  }

  @Test func aBalancerThatCountsOnOtherPartitionsSendsNothingAndSaysWhy() async throws {
    let folder = TemporaryFolder()
    let port = FreePorts.first()
    let output = open(folder.path + "/log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    defer { close(output) }
    func start(_ line: String) throws -> pid_t {
      try ChildProcess.start(
        executable, line.split(separator: " ").map(String.init), environment: ["MILLRACE_LOGS": "text"], output: output)
    }
    let server = try start("kv --listen unix:\(folder.path)/s --kv-data \(folder.path)/kv --partitions 4")
    let balancer = try start("balance --port \(port) --kv-server server-1=unix:\(folder.path)/s")
    defer {
      for pid in [server, balancer] {
        kill(pid, SIGKILL)
        _ = ChildProcess.waitForEnd(of: pid)
      }
    }
    #expect(
      await eventually {
        (try? String(contentsOfFile: folder.path + "/log", encoding: .utf8))?
          .contains("its store has 4 partitions, not 8: set KV_PARTITIONS") == true
      })
    #expect(try await shell("curl -s http://127.0.0.1:\(port)/get/a").contains(#""status":503"#))
    #expect(try await shell("curl -s http://127.0.0.1:\(port)/readyz").contains("server-1"))
  }
}
