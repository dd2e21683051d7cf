import Basics
import Foundation
import Glibc
import HTTP
import Reactor
import TestSupport
import Testing

/// Values that several API processes have in their caches, and that change all the time.
@Suite(.serialized, .timeLimit(.minutes(5))) struct DataTests {
  /// What was put, when it was acknowledged, and what readers have seen.
  private final class Checker {
    /// For each key its numbers in the order in which they were put: when each was acknowledged, nil if that is not
    /// known.
    private var acknowledged: [[MonotonicTime?]]
    private(set) var wrong: [String] = []
    private(set) var reads = 0
    private(set) var hits = 0
    private(set) var writes = 0
    private(set) var failures: [Int: Int] = [:]
    private let ports: [Int]
    private let token: String
    private var random: SeededRandom
    var isOver = false

    init(keys: Int, ports: [Int], token: String, seed: UInt64) {
      acknowledged = .init(repeating: [], count: keys)
      self.ports = ports
      self.token = token
      random = SeededRandom(seed: seed)
    }

    private func send(
      _ request: HTTPClientRequest, _ client: HTTPClient, on reactor: isolated Reactor
    ) async -> HTTPClientResponse? {
      var request = request
      request.fields = [("Authorization", token), ("Content-Type", "application/json")]
      let port = ports.randomElement(using: &random) ?? 0
      let deadline = reactor.now + .seconds(20 as UInt64)
      return try? await client.send(request, to: SocketAddress("127.0.0.1:\(port)")!, until: deadline, on: reactor)
    }

    /// One writer a key at a time: so the order of the numbers is that of the changes.
    func write(_ keys: Range<Int>, on reactor: isolated Reactor) async {
      let client = HTTPClient()
      while !isOver {
        let key = Int.random(in: keys, using: &random)
        let number = acknowledged[key].count
        acknowledged[key].append(nil)
        let body = Array(#"{"value":"\#(key):\#(number)"}"#.utf8)
        let answer = await send(HTTPClientRequest(.put, "/data/key-\(key)", body: body), client, on: reactor)
        if answer?.status == 200 {
          acknowledged[key][number] = reactor.now
          writes += 1
        } else {
          failures[answer?.status ?? 0, default: 0] += 1
        }
        await reactor.sleep(for: .milliseconds(UInt64.random(in: 0...20, using: &random)))
      }
      client.closeIdle(on: reactor)
    }

    func read(on reactor: isolated Reactor) async {
      let client = HTTPClient()
      while !isOver {
        let key = Int.random(in: acknowledged.indices, using: &random)
        // The last one that was acknowledged more than a second ago must be seen by now, or a later one.
        let now = reactor.now
        let least = acknowledged[key].lastIndex { $0.map { now.since($0) > .seconds(1 as UInt64) } ?? false }
        let answer = await send(HTTPClientRequest(.get, "/data?key=key-\(key)"), client, on: reactor)
        let text = String(decoding: answer?.body ?? [], as: UTF8.self)
        if answer?.status == 404, least == nil { continue }
        guard answer?.status == 200, let found = text.firstMatch(of: /"data":"(\d+):(\d+)"/) else {
          failures[answer?.status ?? 0, default: 0] += 1
          if answer?.status == 404 { wrong.append("key \(key) has no value and was given \(least ?? -1)") }
          continue
        }
        reads += 1
        if text.contains(#""cached":true"#) { hits += 1 }
        if Int(found.1) != key { wrong.append("key \(key) was answered with \(found.0)") }
        if let least, Int(found.2) ?? -1 < least { wrong.append("key \(key) was \(found.0) and not \(least): \(text)") }
      }
      client.closeIdle(on: reactor)
    }
  }

  /// How many messages Redis has been given.
  private static func published(_ folder: String) throws -> Int {
    let log = folder + "/commands"
    let output = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    defer { close(output) }
    let line = ["-s", folder + "/data/run/redis.sock", "info", "commandstats"]
    #expect(ChildProcess.waitForEnd(of: try ChildProcess.start("redis-cli", line, output: output)) == (0, 0))
    let text = try String(contentsOfFile: log, encoding: .utf8)
    return text.firstMatch(of: /cmdstat_publish:calls=(\d+)/).flatMap { Int($0.1) } ?? 0
  }

  /// Waits until there were many more reads and writes, and `span` is over.
  private static func watch(_ checker: Checker, for span: TimeSpan, on reactor: isolated Reactor) async throws {
    let (reads, writes, end) = (checker.reads + 2000, checker.writes + 200, reactor.now + span)
    try await wait(on: reactor) { checker.reads >= reads && checker.writes >= writes && reactor.now >= end }
  }

  @Test func aFrozenRedisMakesChangesSlowerAndNoAnswerWrong() async throws {
    let seed = ProcessInfo.processInfo.environment["MILLRACE_SEED"].flatMap(UInt64.init) ?? .random(in: 1 ... .max)
    let system = try System(["--api", "3", "--services", "0"])
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let token = try #require(try await system.get("/token").split(separator: "\"").last { $0.hasPrefix("ey") })
    let (port, redis) = (system.port, try #require(system.processes("redis-server").first))
    defer { kill(redis, SIGCONT) }
    try await onReactor { reactor in
      let checker = Checker(keys: 40, ports: (1...3).map { port + $0 }, token: String(token), seed: seed)
      let tasks = Self.begin(checker, on: reactor)
      // Until all rely on being told.
      try await Self.watch(checker, for: .seconds(6 as UInt64), on: reactor)
      kill(redis, SIGSTOP)
      // Nobody knows at first that nobody is told of anything; then all do.
      try await Self.watch(checker, for: .seconds(9 as UInt64), on: reactor)
      // It has what it had before, and that has changed.
      kill(redis, SIGCONT)
      try await Self.watch(checker, for: .seconds(7 as UInt64), on: reactor)
      checker.isOver = true
      for task in tasks { await task.value }
      #expect(checker.wrong.isEmpty, "seed \(seed): \(checker.wrong.prefix(5))")
      #expect(checker.failures == [:], "seed \(seed)")
    }
  }

  /// Four who write, each to keys of its own, and eight who read.
  private static func begin(_ checker: Checker, on reactor: isolated Reactor) -> [Task<Void, Never>] {
    (0..<12).map { number in
      Task.immediate(executorPreference: reactor.queue) {
        if number < 4 {
          await checker.write(number * 10..<number * 10 + 10, on: reactor)
        } else {
          await checker.read(on: reactor)
        }
      }
    }
  }

  @Test func noProcessAnswersWithAnotherKeysValueNorWithOneThatWasChangedASecondAgoAlsoWhileRedisFalls() async throws {
    let seed = ProcessInfo.processInfo.environment["MILLRACE_SEED"].flatMap(UInt64.init) ?? .random(in: 1 ... .max)
    let system = try System(["--api", "3", "--services", "0"])
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let token = try #require(try await system.get("/token").split(separator: "\"").last { $0.hasPrefix("ey") })
    let folder = system.folder
    let (port, launcher, redis) = (system.port, system.pid, try #require(system.processes("redis-server").first))
    try await onReactor { reactor in
      let checker = Checker(keys: 40, ports: (1...3).map { port + $0 }, token: String(token), seed: seed)
      let tasks = Self.begin(checker, on: reactor)
      try await wait(on: reactor) { checker.reads >= 2000 && checker.writes >= 200 }
      #expect(checker.hits > 200, "seed \(seed): \(checker.hits) of \(checker.reads)")
      // Without it nobody can be told of anything; the launcher, which would start another one at once, is held.
      kill(launcher, SIGSTOP)
      kill(redis, SIGKILL)
      try await Self.watch(checker, for: .seconds(7 as UInt64), on: reactor)
      kill(launcher, SIGCONT)
      // The new one has nothing, and hears what could not be told.
      try await Self.watch(checker, for: .seconds(7 as UInt64), on: reactor)
      // A change is told once, and by each other process once more at most, which may have put the former value into
      // the shared level behind it. Never does one word lead to the next without end.
      let before = try Self.published(folder)
      let changes = checker.writes
      try await Self.watch(checker, for: .seconds(2 as UInt64), on: reactor)
      let told = try Self.published(folder) - before
      #expect(told <= 3 * (checker.writes - changes) + 50, "\(told) words of \(checker.writes - changes) changes")
      checker.isOver = true
      for task in tasks { await task.value }
      #expect(checker.wrong.isEmpty, "seed \(seed): \(checker.wrong.prefix(5))")
      #expect(checker.failures == [:], "seed \(seed)")
    }
  }
}
