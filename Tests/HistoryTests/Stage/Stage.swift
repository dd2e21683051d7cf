import Basics
import Glibc
import Postgres
import Reactor
import Telemetry
import TestSupport
import Testing

private let helpers = PostgresConnection.Helpers(pool: try! ComputePool(width: 2))
private let silent = Logger(sink: LogSink(fd: 2), subsystem: "test", level: .error)

/// Lets so many stages stand at a time: all at once they would take the processors from each other, and from all other
/// tests, and what is measured in seconds here would say nothing.
private actor Theatre {
  static let shared = Theatre()
  private var free = 5
  private var waiting: [CheckedContinuation<Void, Never>] = []

  func enter() async {
    if free > 0 { free -= 1 } else { await withCheckedContinuation { waiting.append($0) } }
  }

  func leave() {
    if waiting.isEmpty { free += 1 } else { waiting.removeFirst().resume() }
  }
}

/// What one test has to itself: a PostgreSQL, processes, relays between them, clients, and what all of them have seen.
final class Stage {
  let server: TestServer
  let clients: Clients
  /// Random numbers that follow from the seed.
  var random: SeededRandom { SeededRandom(seed: seed &+ 1) }
  private let seed: UInt64
  private var notes: [String] = []
  private(set) var programs: [Program] = []
  private var relays: [Relay] = []
  private var spareSessions: [PostgresConnection] = []
  private var inspector: PostgresConnection?
  private var statements = 0

  /// Runs `body` on a stage of its own and asks the checker what it thinks of it.
  /// - Parameters:
  ///   - settings: of PostgreSQL, `name=value`.
  ///   - diskMiB: the size of the disk under PostgreSQL; nil for one that does not end.
  ///   - isRecorded: false if what happens is too much to be written down.
  ///   - isIdle: whether it does almost nothing but wait, and need not wait for its turn.
  static func run(
    settings: [String] = [], diskMiB: Int? = nil, isRecorded: Bool = true, isIdle: Bool = false,
    _ location: SourceLocation = #_sourceLocation,
    _ body: @escaping @Sendable (Stage, isolated Reactor) async throws -> Void
  ) async throws {
    if !isIdle { await Theatre.shared.enter() }
    let failure: String?
    do { failure = try await play(settings, diskMiB, isRecorded, body) } catch { failure = "\(error)" }
    if !isIdle { await Theatre.shared.leave() }
    // On the test's own task, or nobody would know whose it is.
    if let failure { Issue.record("\(failure)", sourceLocation: location) }
  }

  private static func play(
    _ settings: [String], _ diskMiB: Int?, _ isRecorded: Bool,
    _ body: @escaping @Sendable (Stage, isolated Reactor) async throws -> Void
  ) async throws -> String? {
    try await onReactor { reactor -> String? in
      let stage = try Stage(try Database.start(settings: settings, diskMiB: diskMiB))
      var failure: String?
      do {
        if !isRecorded { try await stage.run("drop schema history cascade", on: reactor) }
        try await body(stage, reactor)
        if isRecorded { try await stage.judge(on: reactor) }
      } catch {
        failure = "\(error); see it again: MILLRACE_SEED=\(stage.seed)\n\(stage.logs)"
      }
      stage.close(on: reactor)
      return failure
    }
  }

  private init(_ server: TestServer) throws {
    self.server = server
    seed = chosenSeed ?? UInt64.random(in: 0..<1_000_000)
    clients = Clients(seed: seed)
  }

  private func close(on reactor: isolated Reactor) {
    for program in programs { program.kill() }
    for relay in relays { relay.close(on: reactor) }
    for session in spareSessions { session.close(on: reactor) }
    inspector?.close(on: reactor)
    server.stop()
  }

  /// Has a failure tell what came before it.
  func note(_ text: String) { notes.append(text) }

  /// The last lines of all processes.
  private var logs: String {
    notes.joined(separator: ", ") + "\n"
      + programs.map { program in
        let lines = program.output.split(separator: "\n")
        return "--- \(program.name)\n" + lines.suffix(12).map { $0.prefix(300) }.joined(separator: "\n")
      }.joined(separator: "\n")
  }

  /// The history until now.
  func history(on reactor: isolated Reactor) async throws -> History {
    var history = clients.history
    history.commits = try await Recorder.read(try await connection(on: reactor), on: reactor)
    return history
  }

  private func judge(on reactor: isolated Reactor) async throws {
    let history = try await history(on: reactor)
    try expect(history.commits.count > 1, "nothing was written down")
    let violations = HistoryChecker.violations(of: history)
    try expect(violations.isEmpty, "\(violations.count) violations: \(violations.prefix(5))")
  }

  /// Ends the test unless it is so. (`#expect` would not know on a reactor which test it is in.)
  func expect(_ isSo: Bool, _ what: @autoclosure () -> String) throws {
    if !isSo { throw StageError("not so: \(what())") }
  }

  // MARK: Who is on it

  /// Starts an API process, which reaches PostgreSQL through `relay` if there is one, and waits until it is ready.
  @discardableResult
  func api(_ name: String = "api", via relay: Relay? = nil, on reactor: isolated Reactor) async throws -> Program {
    let keys = server.directory + "/keys"
    if access(keys, F_OK) != 0 {
      let rotation = try ChildProcess.start(executable, ["token", "rotate", "--token-keys-file", keys])
      try expect(ChildProcess.waitForEnd(of: rotation).code == 0, "there is no key for tokens")
    }
    let program = try Program(
      "api", name, host: relay?.folder ?? server.directory, folder: server.directory,
      flags: ["--token-keys-file", keys, "--token-endpoint", "on"])
    return try await begin(program, on: reactor)
  }

  /// Starts a worker, likewise.
  @discardableResult
  func worker(
    _ name: String, called workerName: String? = nil, via relay: Relay? = nil, flags: [String] = [],
    environment: [String: String] = [:], on reactor: isolated Reactor
  ) async throws -> Program {
    let program = try Program(
      "worker", name, host: relay?.folder ?? server.directory, folder: server.directory,
      flags: ["--worker-name", workerName ?? name] + flags, environment: environment)
    return try await begin(program, on: reactor)
  }

  private func begin(_ program: Program, on reactor: isolated Reactor) async throws -> Program {
    programs.append(program)
    try await within(60, "\(program.name) is ready", on: reactor) { await program.isReady(on: reactor) }
    if program.name.hasPrefix("api") { clients.address = program.address }
    return program
  }

  /// A relay in front of PostgreSQL.
  func relay(on reactor: isolated Reactor) throws -> Relay {
    let folder = "\(server.directory)/relay\(relays.count)"
    mkdir(folder, 0o755)
    let relay = try Relay(folder: folder, server: "\(server.directory)/.s.PGSQL.5432", on: reactor)
    relays.append(relay)
    return relay
  }

  // MARK: Looking and waiting

  /// Waits until `condition` holds, for so many seconds at most; how long a look takes counts.
  func within(
    _ seconds: Double, _ what: String, on reactor: isolated Reactor, _ condition: () async throws -> Bool
  ) async throws {
    let deadline = reactor.now + .seconds(seconds)
    while true {
      if (try? await condition()) == true { return }
      guard MonotonicTime.current() < deadline else { throw StageError("not within \(seconds) s: \(what)") }
      await reactor.sleep(for: .milliseconds(20))
    }
  }

  /// Waits until all tasks of all clients are over.
  func allOver(within seconds: Double, on reactor: isolated Reactor) async throws {
    try await within(seconds, "all tasks are over", on: reactor) {
      try await number(
        "(select count(*) from millrace.task where state = 0) + (select count(*) from millrace.lease)", on: reactor)
        == 0
    }
  }

  /// The one session that looks into the tables; a new one if PostgreSQL was away.
  private func connection(on reactor: isolated Reactor) async throws -> PostgresConnection {
    if let inspector, inspector.isOpen { return inspector }
    let inspector = try await session(on: reactor)
    self.inspector = inspector
    return inspector
  }

  /// Another session.
  func session(on reactor: isolated Reactor) async throws -> PostgresConnection {
    var configuration = PostgresConfiguration()
    configuration.hosts = [server.directory]
    configuration.applicationName = "inspector"
    configuration.limiter = ConnectionLimiter(max: 200)
    return try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
  }

  /// Takes all sessions that PostgreSQL has left, until `giveSessionsBack`; returns how many.
  func takeAllSessions(on reactor: isolated Reactor) async -> Int {
    while let session = try? await session(on: reactor) { spareSessions.append(session) }
    return spareSessions.count
  }

  func giveSessionsBack(on reactor: isolated Reactor) {
    for session in spareSessions { session.close(on: reactor) }
    spareSessions.removeAll()
  }

  /// Statements are known by name; here each has one of its own.
  private func statement(_ sql: String) -> PostgresStatement {
    statements += 1
    return PostgresStatement("stage_\(statements)", sql)
  }

  func run(_ sql: String, on reactor: isolated Reactor) async throws {
    _ = try await connection(on: reactor).execute(
      statement(sql), until: reactor.now + .seconds(120 as UInt64), on: reactor)
  }

  func number(_ sql: String, on reactor: isolated Reactor) async throws -> Int64 {
    try await connection(on: reactor).execute(statement("select (\(sql))::bigint"), on: reactor).int64(0, 0)
  }

  /// The first column of all rows.
  func texts(_ sql: String, on reactor: isolated Reactor) async throws -> [String] {
    let result = try await connection(on: reactor).execute(statement(sql), on: reactor)
    return (0..<result.rowCount).compactMap { result.text($0, 0) }
  }
}
