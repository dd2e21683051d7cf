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
    /// While nothing is put, nothing covers what was put before.
    var isQuiet = false
    /// How long a change has taken at most.
    var slowest = TimeSpan.milliseconds(0)

    init(keys: Int, ports: [Int], token: String, seed: UInt64) {
      acknowledged = .init(repeating: [], count: keys)
      self.ports = ports
      self.token = token
      random = SeededRandom(seed: seed)
    }

    /// The keys of one of several writers.
    func share(_ number: Int, of writers: Int) -> Range<Int> {
      let count = acknowledged.count / writers
      return number * count..<(number + 1) * count
    }

    /// Whether it is a key of the cache itself and not of a value.
    private func isEntry(_ key: Int) -> Bool { key % 4 == 3 }

    /// Where an entry is put, as a part of the body.
    private var level: String {
      ["", #","level":"L1""#, #","level":"L2""#, #","level":"L3""#].randomElement(using: &random) ?? ""
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
        await reactor.sleep(for: .milliseconds(UInt64.random(in: 0...20, using: &random)))
        if isQuiet { continue }
        let (key, sentAt) = (Int.random(in: keys, using: &random), reactor.now)
        let number = acknowledged[key].count
        acknowledged[key].append(nil)
        let body = Array(#"{"value":"\#(key):\#(number)"\#(isEntry(key) ? level : "")}"#.utf8)
        let path = isEntry(key) ? "/cache/key-\(key)" : "/data/key-\(key)"
        let answer = await send(HTTPClientRequest(.put, path, body: body), client, on: reactor)
        if answer?.status == 200 {
          acknowledged[key][number] = reactor.now
          slowest = max(slowest, reactor.now.since(sentAt))
          writes += 1
        } else {
          failures[answer?.status ?? 0, default: 0] += 1
        }
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
        let target = isEntry(key) ? "/cache/key-\(key)" : "/data?key=key-\(key)"
        let answer = await send(HTTPClientRequest(.get, target), client, on: reactor)
        let text = String(decoding: answer?.body ?? [], as: UTF8.self)
        // An entry that is not there is no wrong answer: some are in one level of one process alone.
        if answer?.status == 404, least == nil || isEntry(key) { continue }
        guard answer?.status == 200, let found = text.firstMatch(of: /"(?:data|value)":"(\d+):(\d+)"/) else {
          failures[answer?.status ?? 0, default: 0] += 1
          if answer?.status == 404 { wrong.append("key \(key) has no value and was given \(least ?? -1)") }
          continue
        }
        reads += 1
        if text.contains(#""cached":true"#) || isEntry(key) { hits += 1 }
        if Int(found.1) != key { wrong.append("key \(key) was answered with \(found.0)") }
        if let least, Int(found.2) ?? -1 < least { wrong.append("key \(key) was \(found.0) and not \(least): \(text)") }
      }
      client.closeIdle(on: reactor)
    }
  }

  /// Waits until there were many more reads and, unless all is quiet, writes, and `span` is over.
  private static func watch(_ checker: Checker, for span: TimeSpan, on reactor: isolated Reactor) async throws {
    let (reads, end) = (checker.reads + 2000, reactor.now + span)
    let writes = checker.writes + (checker.isQuiet ? 0 : 200)
    try await wait(on: reactor) { checker.reads >= reads && checker.writes >= writes && reactor.now >= end }
  }

  private static func start() async throws -> (system: System, token: String) {
    let system = try System(["--api", "3", "--services", "0"])
    guard await system.waitFor("Ready"),
      let token = try await system.get("/token").split(separator: "\"").last(where: { $0.hasPrefix("ey") })
    else {
      defer { system.remove() }
      throw NotStarted(output: system.output)
    }
    return (system, String(token))
  }

  private struct NotStarted: Error {
    let output: String
  }

  @Test func aFrozenRedisMakesNoChangeSlowAndNoAnswerWrong() async throws {
    let seed = ProcessInfo.processInfo.environment["MILLRACE_SEED"].flatMap(UInt64.init) ?? .random(in: 1 ... .max)
    let (system, token) = try await Self.start()
    defer { system.remove() }
    let (port, redis) = (system.port, try #require(system.processes("redis-server").first))
    defer { kill(redis, SIGCONT) }
    try await onReactor { reactor in
      let checker = Checker(keys: 40, ports: (1...3).map { port + $0 }, token: token, seed: seed)
      let tasks = Self.begin(checker, on: reactor)
      try await Self.watch(checker, for: .seconds(2 as UInt64), on: reactor)
      #expect(checker.hits > 200, "seed \(seed): \(checker.hits) of \(checker.reads)")
      kill(redis, SIGSTOP)
      checker.slowest = .milliseconds(0)
      try await Self.watch(checker, for: .seconds(3 as UInt64), on: reactor)
      // A change does not wait for it. The bound is for a busy machine; an idle one needs milliseconds.
      #expect(checker.slowest < .seconds(3 as UInt64), "seed \(seed): \(checker.slowest)")
      // It has what it had before, all of which has changed, and nothing covers that.
      checker.isQuiet = true
      kill(redis, SIGCONT)
      try await Self.watch(checker, for: .seconds(4 as UInt64), on: reactor)
      checker.isQuiet = false
      try await Self.watch(checker, for: .seconds(1 as UInt64), on: reactor)
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
          await checker.write(checker.share(number, of: 4), on: reactor)
        } else {
          await checker.read(on: reactor)
        }
      }
    }
  }

  @Test func noProcessAnswersWithAnotherKeysValueNorWithOneThatWasChangedASecondAgoAlsoWhileRedisFalls() async throws {
    let seed = ProcessInfo.processInfo.environment["MILLRACE_SEED"].flatMap(UInt64.init) ?? .random(in: 1 ... .max)
    let (system, token) = try await Self.start()
    defer { system.remove() }
    let (port, launcher, redis) = (system.port, system.pid, try #require(system.processes("redis-server").first))
    try await onReactor { reactor in
      // Through the balancer, and past it.
      let checker = Checker(keys: 1000, ports: (0...3).map { port + $0 }, token: token, seed: seed)
      let tasks = Self.begin(checker, on: reactor)
      try await wait(on: reactor) { checker.reads >= 6000 && checker.writes >= 200 }
      #expect(checker.hits > 200, "seed \(seed): \(checker.hits) of \(checker.reads)")
      // The launcher, which would start another one at once, is held.
      kill(launcher, SIGSTOP)
      kill(redis, SIGKILL)
      try await Self.watch(checker, for: .seconds(2 as UInt64), on: reactor)
      kill(launcher, SIGCONT)
      // The new one has nothing.
      try await Self.watch(checker, for: .seconds(2 as UInt64), on: reactor)
      checker.isOver = true
      for task in tasks { await task.value }
      #expect(checker.wrong.isEmpty, "seed \(seed): \(checker.wrong.prefix(5))")
      #expect(checker.failures == [:], "seed \(seed)")
    }
  }

  @Test func whoeverIsNotToldOfChangesAnyMoreBelievesNothingThatItHas() async throws {
    let seed = ProcessInfo.processInfo.environment["MILLRACE_SEED"].flatMap(UInt64.init) ?? .random(in: 1 ... .max)
    let (system, token) = try await Self.start()
    defer { system.remove() }
    let psql = "psql -h \(system.folder)/data/run -U millrace -d millrace -qAtc"
    // The sessions that the processes hear over: the last thing that they have said is where the clock is.
    let feeds = "select pid from pg_stat_activity where query like 'select (extract(epoch from clock_timestamp%'"
    let (port, pids) = (
      system.port, try await shell("\(psql) \"\(feeds)\"").split(separator: "\n").compactMap { pid_t($0) }
    )
    #expect(pids.count == 3, "\(pids)")
    defer { for pid in pids { kill(pid, SIGCONT) } }
    try await onReactor { reactor in
      let checker = Checker(keys: 40, ports: (1...3).map { port + $0 }, token: token, seed: seed)
      let tasks = Self.begin(checker, on: reactor)
      try await Self.watch(checker, for: .seconds(1 as UInt64), on: reactor)
      #expect(checker.hits > 200, "seed \(seed): \(checker.hits) of \(checker.reads)")
      // Two of them stand still, which no socket shows; the third one is gone at once.
      for pid in pids.dropLast() { kill(pid, SIGSTOP) }
      if let last = pids.last { kill(last, SIGTERM) }
      try await Self.watch(checker, for: .seconds(4 as UInt64), on: reactor)
      for pid in pids { kill(pid, SIGCONT) }
      try await Self.watch(checker, for: .seconds(2 as UInt64), on: reactor)
      checker.isOver = true
      for task in tasks { await task.value }
      #expect(checker.wrong.isEmpty, "seed \(seed): \(checker.wrong.prefix(5))")
      #expect(checker.failures == [:], "seed \(seed)")
    }
  }

  @Test func theCachesAreAskedAndToldFromAShell() async throws {
    let (system, token) = try await Self.start()
    defer { system.remove() }
    let url = "http://127.0.0.1:\(system.port)"
    // As clients of earlier gateways did it: a token, and a value twice, which another process has the second time.
    for (authorization, cached) in [(token, "false"), ("Bearer \(token)", "true"), (token, "true")] {
      let text = try await shell("curl -s '\(url)/data?key=my_data' -H 'Authorization: \(authorization)'")
      let level = cached == "true" ? #""cache_level":"L[12]","# : ""
      let whole = try Regex(#"\{"cached":\#(cached),\#(level)"data":\{.*\},"gateway_id":"api-[123]".*\}"#)
      #expect(text.wholeMatch(of: whole) != nil, "\(text)")
    }
    func cache(_ arguments: String..., environment: [String: String] = [:]) async throws -> (Int32, String) {
      let variables = ["MILLRACE_URL": url, "MILLRACE_DATA": system.folder + "/data"].merging(environment) { $1 }
      return try await run(["cache"] + arguments, environment: variables)
    }
    let put = "curl -sf -X PUT \(url)/cache/my%20key -H 'Authorization: \(token)' -d '{\"value\":[1]}'"
    _ = try await shell("\(put) -H 'Content-Type: application/json'")
    // Nobody needs a token of his own where the system's keys are.
    let (code, got) = try await cache("get", "my key")
    #expect(code == 0 && got.wholeMatch(of: /\{"value":\[1\],"level":"L[123]","hit":true\}\n/) != nil, "\(got)")
    let elsewhere = ["MILLRACE_TOKEN": token, "MILLRACE_DATA": "/none"]
    #expect(try await cache("get", "my key", environment: elsewhere).0 == 0)
    #expect(try await cache("clear", environment: elsewhere).1.contains("403: "))
    #expect(try await cache("invalidate", "my*").1 == #"{"status":"Cache invalidated","prefix":"my"}"# + "\n")
    let (missing, text) = try await cache("get", "my key")
    #expect(missing == 1 && text.contains("404: The cache has no entry of this key."), "\(text)")
    #expect(try await cache("invalidate", "a").1 == #"{"status":"Cache invalidated","key":"a"}"# + "\n")
    #expect(try await cache("clear").1 == #"{"message":"Cache cleared successfully"}"# + "\n")
    #expect(try await cache("stats").1.hasPrefix(#"{"hits":"#))
    for (arguments, said) in [
      (["get"], "'get' needs a key"), (["clear", "x"], "'clear' takes no argument 'x'"),
      (["claer"], "did you mean 'clear'?"), ([], "'millrace cache' does one of stats, get, invalidate, clear"),
    ] {
      let (code, output) = try await run(["cache"] + arguments)
      #expect(code == 2 && output.contains(said), "\(output)")
    }
    #expect(try await cache("get", "a", environment: ["MILLRACE_DATA": "/none"]).1.contains("set MILLRACE_TOKEN"))
    #expect(try await cache("stats", environment: ["MILLRACE_URL": "http://127.0.0.1:1"]).0 == 75)
  }
}
