import Basics
import Glibc
import HTTP
import HTTPSyntax
import Reactor
import TestSupport
import Testing

/// The real program, as people use it.
@Suite("millrace kv", .timeLimit(.minutes(5))) struct ToolTests {
  @Test("the tools put, get and list at a server, and take its store out, in, and beside it") func tools() async throws
  {
    let folder = TemporaryFolder()
    let server = try KeyValueProgram(in: folder.path, flags: ["--partitions", "2", "--max-versions", "3"])
    try await onReactor { reactor in try await server.awaitAnswer(on: reactor) }
    let (tool, url) = ("'\(executable)' kv", "--kv-url unix:\(KeyValueProgram.socket("server-1", in: folder.path))")
    let data = "--kv-data \(folder.path)/kv"
    func run(_ line: String) async throws -> (code: Int32, output: String) { try await shell(line) }
    let created = try await run("\(tool) put a/b '{\"x\": [1]}' \(url)")
    #expect(created.code == 0 && created.output.contains(#""operation":"create","key":"a/b","version":1"#))
    #expect(try await run("printf '\"two\"' | \(tool) put a/b - \(url)").output.contains(#""new_version":2"#))
    #expect(try await run("\(tool) get a/b \(url)").output.hasPrefix(#"{"value":"two","version":2,"#))
    #expect(try await run("\(tool) get a/b --version 1 \(url)").output.hasPrefix(#"{"value":{"x": [1]},"#))
    let missing = try await run("\(tool) get no \(url)")
    #expect(missing.code == 1 && missing.output == "millrace: 404: There is no such key.\n")
    #expect(try await run("\(tool) put c nonsense \(url)").code == 1)
    let history = try await run("\(tool) history a/b \(url)")
    #expect(history.output.split(separator: "\n").count == 2 && history.output.hasPrefix(#"{"version":2,"#))
    for number in 0..<3 { _ = try await run("\(tool) put k\(number) \(number) \(url)") }
    #expect(try await run("\(tool) keys k \(url)").output.split(separator: "\n").count == 3)
    #expect(try await run("\(tool) servers \(url)").output.contains(#""name":"server-1""#))
    #expect(try await run("\(tool) stats server-1 \(url)").output.contains(#""total_keys":4,"total_versions":5"#))
    let wrong = try await run("\(tool) stats server-2 \(url)")
    #expect(wrong.code == 1 && wrong.output.contains("there are server-1"))
    for line in ["gett", "get", "get a b", "put a", "keys a b", "servers x", "import x", "backup"] {
      #expect(try await run("\(tool) \(line) \(url)").code == 2, "\(line)")
    }
    #expect(try await run("\(tool) get a --kv-url unix:/nonexistent.sock").code == 75)
    // Beside the server.
    let exported = try await run("\(tool) export \(data)")
    #expect(exported.output.split(separator: "\n").count == 5)
    #expect(try await run("\(tool) backup \(folder.path)/copy \(data)").code == 0)
    #expect(try await run("\(tool) export --kv-data \(folder.path)/copy").output == exported.output)
    let other = "--kv-data \(folder.path)/other"
    let moved = try await run("\(tool) export \(data) | \(tool) import --partitions 1 \(other)")
    #expect(moved.output == "Put in 5 versions.\n")
    let lines = "sort | md5sum"
    let sums = try await run("\(tool) export \(data) | \(lines); \(tool) export \(other) | \(lines)")
    #expect(Set(sums.output.split(separator: "\n")).count == 1)
    #expect(try await run("\(tool) import \(data) </dev/null").code == 0)
    let held = try await run("\(tool) export \(other) | \(tool) import \(data)")
    #expect(held.code == 1 && held.output.contains("'server-1' has the store: stop it first"))
    #expect(try await run("echo x | \(tool) import \(other)").output.contains("line 1 is not a version of a key"))
    #expect(try await run("\(tool) export --kv-data \(folder.path)/none").code == 78)
    server.end(SIGTERM)
  }

  @Test("cleaning says what it would remove, wants a word, and keeps off what a server has") func cleaning()
    async throws
  {
    let folder = TemporaryFolder()
    let server = try KeyValueProgram(in: folder.path)
    try await onReactor { reactor in
      try await server.awaitAnswer(on: reactor)
      let client = HTTPClient()
      for number in 0..<4 {
        let method: HTTPMethod = number == 3 ? .delete : .put
        let target = number == 3 ? "/delete/a" : "/put/a"
        let body = number == 3 ? [] : Array(#"{"value":\#(number)}"#.utf8)
        let answer = try await client.send(
          HTTPClientRequest(method, target, body: body), to: server.address,
          until: reactor.now + .seconds(20 as UInt64), on: reactor)
        #expect(answer.status == 200)
      }
      client.closeIdle(on: reactor)
    }
    let tool = "'\(executable)' kv-clean --kv-data \(folder.path)/kv"
    let dry = try await shell("\(tool) --dry-run")
    #expect(dry.code == 0 && dry.output.contains("Nobody needs 3 versions with 3 bytes"), "\(dry.output)")
    #expect(try await shell("\(tool) </dev/null").code == 2)
    let held = try await shell("\(tool) --confirm")
    #expect(held.code == 1 && held.output.contains("'server-1' has the store"))
    server.end(SIGTERM)
    #expect(server.output.contains("stopped"))
    #expect(try await shell("\(tool) --confirm").output.hasSuffix("Removed.\n"))
    #expect(try await shell("\(tool) --dry-run").output.contains("Nobody needs 0 versions"))
  }

  @Test("a server that is called as a tool stops in good order", arguments: ["backup", "get"])
  func serverCalledAsTool(name: String) async throws {
    let folder = TemporaryFolder()
    let server = try KeyValueProgram(name, in: folder.path)
    try await onReactor { reactor in try await server.awaitAnswer(on: reactor) }
    server.end(SIGTERM)
    #expect(server.output.contains("stopped"))
  }

  @Test("a store is not served with other partitions than it was made with") func partitions() async throws {
    let folder = TemporaryFolder()
    let line = "'\(executable)' kv --listen unix:\(folder.path)/s --kv-data \(folder.path)/kv"
    let made = try await shell("echo | '\(executable)' kv import --partitions 3 --kv-data \(folder.path)/kv </dev/null")
    #expect(made.output == "Put in 0 versions.\n")
    let refused = try await shell("\(line) --partitions 4")
    #expect(refused.code == 78 && refused.output.contains("was made with 3 partitions, not 4"), "\(refused.output)")
    let named = try await shell("\(line) --kv-server dns:localhost:1")
    #expect(named.code == 78 && named.output.contains("a name for several servers"))
  }
}
