import Basics
import Foundation
import Glibc
import HTTP
import Reactor
import TestSupport
import Testing

/// Real compute services behind a real API process, which needs neither PostgreSQL nor Redis for them.
@Suite(.serialized, .timeLimit(.minutes(5))) struct ComputeServiceTests {
  /// The processes of one test, and what they say.
  private final class Stage: @unchecked Sendable {
    // Safe because: a test uses it from one task at a time.
    let folder = TemporaryFolder()
    let port = FreePorts.first()
    private var running: [String: pid_t] = [:]

    var log: String { folder.path + "/log" }

    func says(_ text: String) throws -> Bool { try String(contentsOfFile: log, encoding: .utf8).contains(text) }

    func start(_ name: String, _ line: [String]) throws {
      let output = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
      defer { close(output) }
      running[name] = try ChildProcess.start(
        line[0], Array(line.dropFirst()),
        environment: [
          "SECRET_KEY": String(repeating: "0", count: 64), "DB_HOST": "/nonexistent", "REDIS_URL": "off",
          "TOKEN_KEYS_FILE": folder.path + "/keys", "MILLRACE_LOGS": "text",
        ], output: output)
    }

    /// The service with this number, on the port behind the API's by as much.
    func startService(_ number: Int, _ flags: String...) throws {
      let line = [executable, "service", "--service-id", "service-\(number)", "--port", "\(port + number)"]
      try start("service-\(number)", line + flags)
    }

    /// Ends a process with `signal`.
    func end(_ name: String, _ signal: CInt) throws {
      let pid = try #require(running[name])
      running[name] = nil
      kill(pid, signal)
      _ = ChildProcess.waitForEnd(of: pid)
    }

    /// An API process before `services`, and the field that makes a user of whoever sends it.
    func startAPI(_ services: [String], _ flags: [String] = [], before: [String] = []) async throws -> String {
      _ = try await shell("'\(executable)' token rotate --token-keys-file \(folder.path)/keys")
      let token = try await shell("'\(executable)' token issue --token-keys-file \(folder.path)/keys").dropLast()
      let line = [executable, "api", "--listen", "127.0.0.1:\(port)"] + services.flatMap { ["--service", $0] } + flags
      try start("api", before + line)
      return "Bearer \(token)"
    }

    func end() {
      for pid in running.values { kill(pid, SIGKILL) }
    }
  }

  /// Users who ask again and again, and what they were told.
  private final class Users {
    private(set) var answers: [String: Int] = [:]
    private(set) var failures: [String] = []
    private let address: SocketAddress
    private let token: String
    private var tasks: [Task<Void, Never>] = []
    private var isOver = false

    init(_ port: Int, _ token: String) {
      address = SocketAddress("127.0.0.1:\(port)")!
      self.token = token
    }

    var count: Int { answers.values.reduce(0, +) }

    func ask(_ client: HTTPClient, on reactor: isolated Reactor) async -> HTTPClientResponse? {
      let request = HTTPClientRequest(.get, "/process", fields: [("Authorization", token)])
      let deadline = reactor.now + .seconds(20 as UInt64)
      return try? await client.send(request, to: address, until: deadline, on: reactor)
    }

    func begin(_ count: Int, on reactor: isolated Reactor) {
      for _ in 0..<count {
        tasks.append(
          Task.immediate(executorPreference: reactor.queue) {
            let client = HTTPClient()
            while !self.isOver { self.note(await self.ask(client, on: reactor)) }
            client.closeIdle(on: reactor)
          })
      }
    }

    private func note(_ answer: HTTPClientResponse?) {
      let text = String(decoding: answer?.body ?? [], as: UTF8.self)
      guard answer?.status == 200, let name = text.firstMatch(of: /"service_id":"([^"]*)"/)?.1 else {
        return failures.append("\(answer?.status ?? 0) \(text)")
      }
      answers[String(name), default: 0] += 1
    }

    func end(on reactor: isolated Reactor) async {
      isOver = true
      for task in tasks { await task.value }
    }
  }

  @Test func aServiceThatIsKilledFailsNoRequestAndWithoutAnyItIs503() async throws {
    let stage = Stage()
    defer { stage.end() }
    for number in 1...3 { try stage.startService(number) }
    let token = try await stage.startAPI((1...3).map { "service-\($0)=127.0.0.1:\(stage.port + $0)" })
    try await onReactor { reactor in
      let users = Users(stage.port, token)
      try await wait(on: reactor) {
        try (1...3).allSatisfy { try stage.says("backend=service-\($0) old=unchecked new=up") }
      }
      users.begin(8, on: reactor)
      try await wait(on: reactor) { users.answers.count == 3 }
      for number in [2, 1] {
        try stage.end("service-\(number)", SIGKILL)
        let enough = users.count + 300
        try await wait(on: reactor) { users.count >= enough }
        try stage.startService(number)
        let before = users.answers["service-\(number)", default: 0]
        try await wait(on: reactor) { users.answers["service-\(number)", default: 0] > before }
      }
      // One that is asked to stop finishes what it has.
      try stage.end("service-3", SIGTERM)
      let enough = users.count + 100
      try await wait(on: reactor) { users.count >= enough }
      await users.end(on: reactor)
      #expect(users.failures == [])

      for number in 1...2 { try stage.end("service-\(number)", SIGKILL) }
      let client = HTTPClient()
      let lonely = await users.ask(client, on: reactor)
      #expect(lonely?.status == 503 && lonely?.field("retry-after") == "1")
      try stage.startService(2)
      let deadline = reactor.now + .seconds(60 as UInt64)
      while await users.ask(client, on: reactor)?.status != 200, reactor.now < deadline {}
      #expect(await users.ask(client, on: reactor)?.status == 200)
      client.closeIdle(on: reactor)
    }
  }

  @Test func oneThatTakesTooLongIs504InTime() async throws {
    let stage = Stage()
    defer { stage.end() }
    try stage.startService(1, "--process-delay-ms", "60000")
    let token = try await stage.startAPI(["127.0.0.1:\(stage.port + 1)"], ["--service-timeout", "0.5"])
    try await onReactor { reactor in
      let users = Users(stage.port, token)
      try await wait(on: reactor) { try stage.says("old=unchecked new=up") }
      let client = HTTPClient()
      let began = reactor.now
      #expect(await users.ask(client, on: reactor)?.status == 504)
      #expect(reactor.now.since(began) < .seconds(10 as UInt64))
      client.closeIdle(on: reactor)
    }
  }

  /// The API has a table of hosts to itself.
  @Test func servicesComeAndGoWithTheirNameAndNoRequestFails() async throws {
    let stage = Stage()
    defer { stage.end() }
    let (hosts, rules) = (stage.folder.path + "/hosts", stage.folder.path + "/rules")
    @Sendable func lead(to addresses: String...) throws {
      let lines = addresses.map { "\($0) compute.test\n" }.joined()
      // In its place, for it is this very file that the API sees.
      try lines.write(toFile: hosts, atomically: false, encoding: .utf8)
    }
    try lead(to: "127.1.0.1")
    try "hosts: files\n".write(toFile: rules, atomically: false, encoding: .utf8)
    for number in 1...2 {
      let flags = ["--service-id", "at-\(number)", "--listen", "127.1.0.\(number):\(stage.port + 1)"]
      try stage.start("at-\(number)", [executable, "service"] + flags)
    }
    let script = #"mount --bind \#(hosts) /etc/hosts && mount --bind \#(rules) /etc/nsswitch.conf && exec "$0" "$@""#
    let token = try await stage.startAPI(
      ["dns:compute.test:\(stage.port + 1)"], before: ["unshare", geteuid() == 0 ? "-m" : "-rm", "sh", "-c", script])
    try await onReactor { reactor in
      let users = Users(stage.port, token)
      try await wait(on: reactor) { try stage.says("backend=compute.test-1 old=unchecked new=up") }
      users.begin(4, on: reactor)
      try await wait(on: reactor) { users.count >= 20 }
      #expect(users.answers["at-2"] == nil)
      try lead(to: "127.1.0.1", "127.1.0.2")
      try await wait(on: reactor) { users.answers["at-2"] != nil }
      try lead(to: "127.1.0.2")
      try await wait(on: reactor) { try stage.says("left=127.1.0.1:\(stage.port + 1)") }
      let some = users.count + 50
      try await wait(on: reactor) { users.count >= some }
      let before = users.answers["at-1"]
      let more = users.count + 50
      try await wait(on: reactor) { users.count >= more }
      #expect(users.answers["at-1"] == before)
      await users.end(on: reactor)
      #expect(users.failures == [])
    }
  }

  @Test func theWholeSystemHasThemBehindItsAPI() async throws {
    let system = try System(["--services", "3"])
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let token = try #require(try await system.get("/token").split(separator: "\"").last { $0.hasPrefix("ey") })
    func ask(_ field: String) async throws -> String {
      try await shell("curl -s -m 20 \(field) http://127.0.0.1:\(system.port)/process")
    }
    #expect(try await ask("").contains(#""status":401"#))
    let names = Set((1...3).map { "service-\($0)" })
    var seen: Set<String> = []
    #expect(
      await eventually {
        let answer = (try? await ask("-H 'Authorization: \(token)'")) ?? ""
        let form = /^\{"message":"[^"]*","service_id":"([^"]*)","gateway_id":"api-1"\}$/
        guard let answer = answer.firstMatch(of: form) else { return false }
        seen.insert(String(answer.1))
        return seen == names
      }, "\(seen)")
  }
}
