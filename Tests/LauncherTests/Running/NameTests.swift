import Basics
import Foundation
import Glibc
import HTTP
import Reactor
import Telemetry
import TestSupport
import Testing

/// Backends behind a name, looked up in the system's own resolver: the balancer has a table of hosts to itself.
@Suite(.serialized, .timeLimit(.minutes(5))) struct NameTests {
  /// Who has answered so far, and what was no answer.
  private final class Tally {
    var answers: [String: Int] = [:]
    /// Of each client, who has answered last, and how often in a row.
    private var latest: [Int: (name: String, times: Int)] = [:]
    var failures: [String] = []
    var isOver = false

    func answered(_ name: String, to client: Int) {
      answers[name, default: 0] += 1
      latest[client] = (name, latest[client]?.name == name ? latest[client]!.times + 1 : 1)
    }

    /// Whether all clients have been answered by nobody else for so many times.
    func isAlone(_ name: String, times: Int) -> Bool {
      latest.values.allSatisfy { $0.name == name && $0.times >= times }
    }
  }

  /// Who serves, and whether it says that it is well.
  private final class Host {
    let name: String
    var isWell: Bool

    init(_ name: String, isWell: Bool = true) {
      self.name = name
      self.isWell = isWell
    }
  }

  /// A server that says who it is, and how it is.
  private static func server(_ host: Host, _ address: String, on reactor: isolated Reactor) throws -> HTTPServer {
    let router = Router(host)
    router.on(.get, "/health", .open) { (host, _, _) throws(Problem) in .text(host.isWell ? 200 : 503, "") }
    router.on(.get, "/who", .open) { (host, _, _) throws(Problem) in .text(200, host.name) }
    let log = Logger(sink: LogSink(fd: STDERR_FILENO), subsystem: "test", level: .error)
    let server = HTTPServer(handler: router, metrics: HTTPServerMetrics(Metrics()), log: log)
    _ = try server.listen(on: try #require(SocketAddress(address)), on: reactor)
    return server
  }

  private static func ask(
    _ tally: Tally, as number: Int, _ address: SocketAddress, on reactor: isolated Reactor
  ) async {
    let client = HTTPClient()
    while !tally.isOver {
      do throws(HTTPClientError) {
        let deadline = reactor.now + .seconds(10 as UInt64)
        let answer = try await client.send(HTTPClientRequest(.get, "/who"), to: address, until: deadline, on: reactor)
        let text = String(decoding: answer.body, as: UTF8.self)
        if answer.status == 200 { tally.answered(text, to: number) } else { tally.failures.append(text) }
      } catch {
        tally.failures.append("\(error)")
      }
    }
    client.closeIdle(on: reactor)
  }

  @Test func serversComeAndGoWithTheirNameAndNoRequestFails() async throws {
    let folder = TemporaryFolder()
    let (hosts, rules, log) = (folder.path + "/hosts", folder.path + "/rules", folder.path + "/log")
    let port = FreePorts.first()
    @Sendable func lead(to addresses: String...) throws {
      let lines = addresses.map { "\($0) app.test\n" }.joined()
      // In its place, for it is this very file that the balancer sees.
      try lines.write(toFile: hosts, atomically: false, encoding: .utf8)
    }
    try lead(to: "127.1.0.1")
    try "hosts: files\n".write(toFile: rules, atomically: false, encoding: .utf8)
    let output = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    let script = """
      mount --bind \(hosts) /etc/hosts && mount --bind \(rules) /etc/nsswitch.conf && exec "$0" "$@"
      """
    let pid = try ChildProcess.start(
      "unshare",
      [
        geteuid() == 0 ? "-m" : "-rm", "sh", "-c", script, executable, "balance", "--backend",
        "app=dns:app.test:\(port + 1)", "--port", "\(port)", "--rate-limit", "0", "--logs", "text",
      ], output: output)
    close(output)
    defer { kill(pid, SIGKILL) }
    @Sendable func says(_ text: String) throws -> Bool {
      try String(contentsOfFile: log, encoding: .utf8).contains(text)
    }
    try await onReactor { reactor in
      let first = try Self.server(Host("1"), "127.1.0.1:\(port + 1)", on: reactor)
      try await wait(on: reactor) { try says("backend=app-1 old=unchecked new=up") }
      let tally = Tally()
      let address = try #require(SocketAddress("127.0.0.1:\(port)"))
      let clients = (0..<4).map { number in
        Task.immediate(executorPreference: reactor.queue) { await Self.ask(tally, as: number, address, on: reactor) }
      }
      // One that nobody has found well gets nothing, though it would answer.
      let newcomer = Host("2", isWell: false)
      let second = try Self.server(newcomer, "127.1.0.2:\(port + 1)", on: reactor)
      try lead(to: "127.1.0.1", "127.1.0.2")
      try await wait(on: reactor) { try says("joined=127.1.0.2:\(port + 1)") }
      let seen = tally.answers["1", default: 0] + 50
      try await wait(on: reactor) { tally.answers["1", default: 0] >= seen }
      #expect(tally.answers["2"] == nil)
      newcomer.isWell = true
      try await wait(on: reactor) { tally.answers["2"] != nil }
      // Whoever leaves gets nothing more, though it is still there; what it has it finishes.
      try lead(to: "127.1.0.2")
      try await wait(on: reactor) { try says("left=127.1.0.1:\(port + 1)") }
      // Each reactor is told, and goes on for a moment as before.
      try await wait(on: reactor) { tally.isAlone("2", times: 50) }
      let ones = tally.answers["1", default: 0]
      // A name that leads nowhere says nothing of the servers.
      try lead()
      try await wait(on: reactor) { try says("a name is not found") }
      let more = tally.answers["2", default: 0] + 50
      try await wait(on: reactor) { tally.answers["2", default: 0] >= more }
      tally.isOver = true
      for client in clients { await client.value }
      #expect(tally.answers["1"] == ones)
      #expect(tally.failures == [])
      for server in [first, second] { await server.drain(until: reactor.now, on: reactor) }
    }
  }
}
