import Basics
import Glibc
import Reactor
import Telemetry
import TestSupport
import Testing

@testable import Redis

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// Runs `body` on a reactor of its own with a client of `server`. On a machine that is busy with other tests a healthy
/// server may take a while to answer, so only tests of the timeout use the usual one.
private func withClient<R: Sendable>(
  _ server: RedisServer, timeout: TimeSpan = .seconds(10 as UInt64), name: String = "test",
  _ body: @escaping @Sendable (RedisClient, Tools, isolated Reactor) async -> R
) async throws -> R {
  let tools = try Tools()
  let endpoint = server.endpoint
  var thread: ReactorThread?
  let result = await withCheckedContinuation { continuation in
    let run = body
    thread = try? Reactor.startThread(name: "redis-test") { reactor in
      Task.immediate(executorPreference: reactor.queue) {
        var configuration = RedisConfiguration(endpoint: endpoint)
        configuration.commandTimeout = timeout
        configuration.clientName = name
        let client = RedisClient(
          configuration, resolver: tools.resolver, logger: tools.logger, metrics: tools.metrics, on: reactor)
        await untilAvailable(client, on: reactor)
        let result = await run(client, tools, reactor)
        client.close(on: reactor)
        reactor.stop()
        continuation.resume(returning: result)
      }
    }
    precondition(thread != nil, "no thread")
  }
  thread?.join()
  return result
}

struct Tools: Sendable {
  let resolver: Resolver
  let logger = Logger(sink: LogSink(fd: open("/dev/null", O_WRONLY)), subsystem: "test")
  let metrics = RedisMetrics(Metrics())

  init() throws { resolver = Resolver(pool: try ComputePool(width: 1)) }
}

/// Waits until commands are answered, 10 s at most.
@discardableResult
private func untilAvailable(_ client: RedisClient, on reactor: isolated Reactor) async -> Bool {
  for _ in 0..<2000 {
    if (try? await client.command([bytes("PING")], on: reactor)) == .status("PONG") { return true }
    await reactor.sleep(for: .milliseconds(5))
  }
  return false
}

/// What a command ended with, as text.
private func outcome(_ client: RedisClient, _ command: String, on reactor: isolated Reactor) async -> String {
  let words = command.split(separator: " ").map { Array($0.utf8) }
  do { return "\(try await client.command(words, on: reactor))" } catch { return "\(error)" }
}

@Suite(.timeLimit(.minutes(5))) struct RedisClientTests {
  @Test func aNameThatRedisRefusesKeepsNobodyOut() async throws {
    let server = RedisServer()
    let names = try await withClient(server, name: "wörker 1\n") { client, _, reactor -> String in
      await outcome(client, "CLIENT GETNAME", on: reactor)
    }
    #expect(names.contains("\(bytes("w--rker-1-"))"))
  }

  @Test func storesReadsAndForgetsInTheServersOwnTerms() async throws {
    let log = try await withClient(RedisServer()) { client, _, reactor -> [String] in
      var log: [String] = []
      do {
        let binary: [UInt8] = [0, 13, 10, 255]
        try await client.set(bytes("millrace:a"), binary, lifetimeMs: 60_000, on: reactor)
        let found = try await client.getWithLifetime(bytes("millrace:a"), on: reactor)
        log.append("\(found!.value == binary && (50_000...60_000).contains(found!.lifetimeMs))")
        log.append("\(try await client.getWithLifetime(bytes("absent"), on: reactor) == nil)")
        _ = try await client.command([bytes("SET"), bytes("eternal"), []], on: reactor)
        log.append("\(try await client.getWithLifetime(bytes("eternal"), on: reactor)! == ([], .max))")
        log.append("\(try await client.remove([bytes("eternal"), bytes("absent")], on: reactor))")
        log.append("\(try await client.keyCount(on: reactor))")
        log.append("\(try await client.info(on: reactor)["maxmemory_policy"] ?? "none")")
      } catch {
        log.append("\(error)")
      }
      return log
    }
    #expect(log == ["true", "true", "true", "1", "1", "allkeys-lfu"])
  }

  @Test func removesByPrefixAloneAlsoWithPatternCharacters() async throws {
    let counts = try await withClient(RedisServer()) { client, _, reactor -> [Int64] in
      do {
        let entries = (0..<2000).map { (key: bytes("a*[1]:\($0)"), value: bytes("v")) }
        let others = [(key: bytes("axx1:0"), value: [] as [UInt8]), (key: bytes("b"), value: [])]
        try await client.setAll(
          entries + others, lifetimeMs: 60_000, thenPublish: bytes("set"), to: bytes("news"), on: reactor)
        let removed = try await client.removeAll(prefix: bytes("a*[1]:"), on: reactor)
        return [removed, try await client.command([bytes("DBSIZE")], on: reactor).integer ?? -1]
      } catch {
        return []
      }
    }
    #expect(counts == [2000, 2])
  }

  @Test func commandsOfManyTasksGetTheirOwnAnswers() async throws {
    let wrong = try await withClient(RedisServer()) { client, _, reactor -> Int in
      let tally = Tally()
      for number in 0..<500 {
        tally.running += 1
        Task.immediate(executorPreference: reactor.queue) {
          let text = bytes("\(number)" + String(repeating: "x", count: number))
          let single = try? await client.command([bytes("ECHO"), text], on: reactor)
          let several = try? await client.pipeline(
            [[bytes("ECHO"), text], [bytes("NONSENSE")]], about: text, on: reactor)
          if single?.bytes != text || several?.first?.bytes != text { tally.wrong += 1 }
          if case .error? = several?.last {} else { tally.wrong += 1 }
          tally.running -= 1
        }
      }
      while tally.running > 0 { await reactor.sleep(for: .milliseconds(1)) }
      return tally.wrong
    }
    #expect(wrong == 0)
  }

  @Test func commandsOfOneTurnLeaveInOneWrite() async throws {
    let reads = try await withClient(RedisServer()) { client, _, reactor -> Int in
      func readsOfServer() async -> Int {
        Int((try? await client.info(on: reactor))?["total_reads_processed"] ?? "") ?? 0
      }
      let before = await readsOfServer()
      let tally = Tally()
      for number in 0..<500 {
        tally.running += 1
        Task.immediate(executorPreference: reactor.queue) {
          try? await client.set(bytes("key-\(number)"), bytes("value"), lifetimeMs: 60_000, on: reactor)
          tally.running -= 1
        }
      }
      while tally.running > 0 { await reactor.sleep(for: .milliseconds(1)) }
      return await readsOfServer() - before
    }
    // 500 commands, and the two questions; the server reads 16 KiB at a time.
    #expect(1...12 ~= reads, "\(reads)")
  }

  @Test func aRefusalIsThrownInTheServersWords() async throws {
    let text = try await withClient(RedisServer()) { client, _, reactor -> String in
      await outcome(client, "INCRBY k x", on: reactor)
    }
    #expect(text == "ERR value is not an integer or out of range")
  }

  @Test func aFrozenServerCostsOneTimeoutThenNothingAndRecovers() async throws {
    let server = RedisServer()
    let usual = TimeSpan.milliseconds(Limits.commandTimeoutMs)
    let log = try await withClient(server, timeout: usual) { client, _, reactor -> [String] in
      server.signal(SIGSTOP)
      var log = [await outcome(client, "PING", on: reactor)]
      // From now on nothing waits.
      for _ in 0..<200 {
        log.append(await outcome(client, "PING", on: reactor))
        await reactor.sleep(for: .milliseconds(2))
      }
      server.signal(SIGCONT)
      log.append("recovered: \(await untilAvailable(client, on: reactor))")
      return log
    }
    #expect(log.first == "no answer in time")
    #expect(Set(log[1...200]).isSubset(of: ["not connected", "not tried after too many failures"]))
    #expect(log.last == "recovered: true")
  }

  @Test func aKilledServerFailsWhatWaitsAndIsFoundAgain() async throws {
    let server = RedisServer()
    let log = try await withClient(server) { client, _, reactor -> [String] in
      let waiting = Tally()
      Task.immediate(executorPreference: reactor.queue) {
        // Blocks in the server until it is killed.
        waiting.log.append(await outcome(client, "BLPOP q 0", on: reactor))
      }
      await reactor.sleep(for: .milliseconds(5))
      server.kill9()
      await waiting.waitFor(1, on: reactor)
      var log = waiting.log
      log.append(await outcome(client, "PING", on: reactor))
      server.start()
      log.append("recovered: \(await untilAvailable(client, on: reactor))")
      return log
    }
    #expect(log == ["connection lost", "not connected", "recovered: true"])
  }

  @Test func subscribersHearOfMessagesAndOfEveryGap() async throws {
    let server = RedisServer()
    let endpoint = server.endpoint
    let log = try await withClient(server) { client, tools, reactor -> [String] in
      let heard = Tally()
      let subscriber = RedisSubscriber(
        RedisConfiguration(endpoint: endpoint), channels: [bytes("a"), bytes("b")], resolver: tools.resolver,
        logger: tools.logger, metrics: tools.metrics, receiver: heard, on: reactor)
      await heard.waitFor(1, on: reactor)
      _ = try? await client.publish(bytes("1"), to: bytes("a"), on: reactor)
      _ = try? await client.publish(bytes("2"), to: bytes("c"), on: reactor)
      _ = try? await client.publish(bytes("3"), to: bytes("b"), on: reactor)
      await heard.waitFor(3, on: reactor)
      server.kill9()
      await heard.waitFor(4, on: reactor)
      server.start()
      await heard.waitFor(5, on: reactor)
      await untilAvailable(client, on: reactor)
      _ = try? await client.publish(bytes("4"), to: bytes("a"), on: reactor)
      await heard.waitFor(6, on: reactor)
      // A frozen server is silent, but a silent server is asked.
      server.signal(SIGSTOP)
      await heard.waitFor(7, on: reactor)
      server.signal(SIGCONT)
      await heard.waitFor(8, on: reactor)
      subscriber.close(on: reactor)
      return heard.log
    }
    #expect(
      log == ["connected", "a=1", "b=3", "disconnected", "connected", "a=4", "disconnected", "connected"])
  }

  @Test func aServerThatCountsWithoutEndCostsATimeoutAndNoMore() async throws {
    let server = FakeRedis { words in
      words[0] == "SCAN" ? "*2\r\n$1\r\n7\r\n*1\r\n$1\r\na\r\n" : ":\(Int64.max)\r\n"
    }
    let tools = try Tools()
    let outcome = try await onReactor { reactor in
      let client = RedisClient(
        RedisConfiguration(endpoint: server.endpoint), resolver: tools.resolver, logger: tools.logger,
        metrics: tools.metrics, on: reactor)
      defer { client.close(on: reactor) }
      await untilAvailable(client, on: reactor)
      do throws(RedisError) {
        return "\(try await client.removeAll(prefix: bytes("a"), for: .milliseconds(200), on: reactor))"
      } catch {
        return "\(error)"
      }
    }
    #expect(outcome == "no answer in time")
  }

  @Test func aServerThatWillNotBeWrittenToIsNotComeBackToAtOnceEachTime() async throws {
    let server = FakeRedis { words in words[0] == "SET" ? "-READONLY it is a replica\r\n" : "$-1\r\n" }
    let tools = try Tools()
    try await onReactor { reactor in
      let client = RedisClient(
        RedisConfiguration(endpoint: server.endpoint), resolver: tools.resolver, logger: tools.logger,
        metrics: tools.metrics, on: reactor)
      defer { client.close(on: reactor) }
      let until = reactor.now + .seconds(3 as UInt64)
      while reactor.now < until {
        try? await client.set(bytes("a"), bytes("1"), lifetimeMs: 1000, on: reactor)
        await reactor.sleep(for: .milliseconds(2))
      }
    }
    // With the pauses of a server that cannot be reached there are about eight, without them about a hundred.
    #expect(2...20 ~= server.connections, "\(server.connections)")
  }

  @Test func aServerThatSpeaksSomethingElseIsGivenUp() async throws {
    let answers = ["HTTP/1.1 400 Bad Request\r\n\r\n", "+OK\r\n?\r\n", "*-5\r\n", "$99999999999999\r\n"]
    for answer in answers {
      let listener = OddServer(answer: answer)
      let tools = try Tools()
      var thread: ReactorThread?
      let attempts = await withCheckedContinuation { continuation in
        thread = try? Reactor.startThread(name: "odd") { reactor in
          Task.immediate(executorPreference: reactor.queue) {
            let client = RedisClient(
              RedisConfiguration(endpoint: "unix:" + listener.path), resolver: tools.resolver,
              logger: tools.logger, metrics: tools.metrics, on: reactor)
            let attempts = await listener.served(tools.metrics, on: reactor)
            client.close(on: reactor)
            reactor.stop()
            continuation.resume(returning: attempts)
          }
        }
      }
      thread?.join()
      // Each time it gives the connection up, and comes back to look whether that has changed.
      #expect(attempts == 3, "\(answer)")
    }
  }
}

/// What tasks of one reactor count together.
final class Tally: MessageReceiver {
  var running = 0
  var wrong = 0
  var log: [String] = []

  func received(_ event: RedisSubscriber.Event, on reactor: isolated Reactor) {
    switch event {
    case .connected: log.append("connected")
    case .disconnected: log.append("disconnected")
    case .message(let channel, let payload): log.append(String(decoding: channel + [0x3D] + payload, as: UTF8.self))
    }
  }

  /// Waits until `count` lines were heard, 15 s at most.
  func waitFor(_ count: Int, on reactor: isolated Reactor) async {
    for _ in 0..<7500 where log.count < count { await reactor.sleep(for: .milliseconds(2)) }
  }
}

/// Answers every connection with the same bytes.
final class OddServer: @unchecked Sendable {
  // Safe because: set up before it is shared, and the descriptor never changes.
  let path: String
  private let fd: CInt
  private let answer: String

  init(answer: String) {
    self.answer = answer
    path = "/tmp/millrace-odd-\(getpid())-\(UInt32.random(in: 0 ... .max))"
    fd = try! Socket.listen(on: SocketAddress(unixPath: path)!)
  }

  deinit {
    close(fd)
    unlink(path)
  }

  /// Answers up to three connections, 5 s at most, and returns how many there were before it trusted one.
  func served(_ metrics: RedisMetrics, on reactor: isolated Reactor) async -> Int {
    var connections: [CInt] = []
    defer { for connection in connections { close(connection) } }
    for _ in 0..<2500 where connections.count < 3 {
      let connection = accept(fd, nil, nil)
      if connection >= 0 {
        _ = write(connection, answer, answer.utf8.count)
        connections.append(connection)
      }
      await reactor.sleep(for: .milliseconds(2))
      if metrics.connects.value > 0 { return -1 }
    }
    return connections.count
  }
}
