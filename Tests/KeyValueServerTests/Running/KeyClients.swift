import Basics
import Foundation
import HTTP
import HTTPSyntax
import Reactor
import TestSupport
import Testing

/// The seed that somebody wants to see again: `MILLRACE_SEED=17 swift test --filter KeyValueServerTests`.
private let chosenSeed = ProcessInfo.processInfo.environment["MILLRACE_SEED"].flatMap { Int($0) }

/// Clients that read and write a few keys, with and without conditions, and write down what they are told.
final class KeyClients {
  private let addresses: [SocketAddress]
  private var current = 0
  private var histories: [KeyHistory]
  private var tasks: [Task<Void, Never>] = []
  private var isOver = false
  /// What all chance in a run comes from.
  let seed: Int
  private var writes = 0
  private let wrote = Pause()
  private var resting: [Pause] = []
  private var awaited = Int.max
  /// What no server may ever say.
  private var lies: [String] = []
  private var numbers = 0

  /// Clients that ask the first of `servers` until they are told to turn to another one.
  init(keys: Int, _ servers: [SocketAddress]) {
    (seed, addresses) = (chosenSeed ?? Int.random(in: 0..<1_000_000), servers)
    histories = Array(repeating: KeyHistory(), count: keys)
  }

  func turn(to server: Int) { current = server }

  func begin(_ count: Int, on reactor: isolated Reactor) {
    for number in 0..<count {
      tasks.append(
        Task.immediate(executorPreference: reactor.queue) {
          var random = SeededRandom(seed: UInt64(seed * 1000 + number))
          // No connection is kept: over one that is lost a PUT would be sent twice, and be two versions.
          let client = HTTPClient(idleMax: 0)
          while !isOver {
            await rest(on: reactor)
            await act(&random, client, on: reactor)
          }
        })
    }
  }

  /// Waits while enough was written: what a test starts meanwhile needs the processors.
  private func rest(on reactor: isolated Reactor) async {
    while !isOver, awaited != .max, writes >= awaited + 20 {
      let pause = Pause()
      resting.append(pause)
      await pause.wait(until: .never, on: reactor)
    }
  }

  private func wake() {
    for pause in resting { pause.end() }
    resting.removeAll()
  }

  /// Waits until so many more writes were acknowledged.
  func await(writes count: Int, on reactor: isolated Reactor) async {
    awaited = writes + count
    wake()
    if writes < awaited { await wrote.wait(until: reactor.now + .seconds(60 as UInt64), on: reactor) }
    #expect(writes >= awaited, "too few writes in a minute")
  }

  func end(on reactor: isolated Reactor) async {
    isOver = true
    wake()
    for task in tasks { await task.value }
  }

  private func act(
    _ random: inout SeededRandom, _ client: HTTPClient, on reactor: isolated Reactor
  ) async {
    let key = Int.random(in: 0..<histories.count, using: &random)
    // What clients of a balancer do that has turned elsewhere: they do not ask the one that is gone again.
    let address = addresses[current]
    let choice = Int.random(in: 0..<8, using: &random)
    numbers += 1
    let number = numbers
    var request = HTTPClientRequest(.get, "/get/key-\(key)")
    var wanted: Int64?
    var value: Int?
    switch choice {
    case 0..<4: break
    case 4: request = HTTPClientRequest(.delete, "/delete/key-\(key)")
    default:
      value = number
      request = HTTPClientRequest(.put, "/put/key-\(key)", body: Array(#"{"value":\#(number)}"#.utf8))
    }
    // A deletion of which nobody knows what became of it can then have been only one.
    if choice == 4 || choice == 7 {
      wanted = max(1, (histories[key].acknowledged.last ?? 1) - Int64.random(in: 0...1, using: &random))
      request.fields = [("If-Match", "\"\(wanted!)\"")]
    }
    let begin = MonotonicTime.current().nanoseconds
    let answer = try? await client.send(
      request, to: address, until: reactor.now + .seconds(20 as UInt64), on: reactor)
    let end = MonotonicTime.current().nanoseconds
    note(answer, key, request.method, value, wanted, from: begin, to: end)
    // Nobody answers: the next attempt a moment later, as clients do.
    if answer?.status != 200 { await reactor.sleep(for: .milliseconds(5)) }
  }

  private func note(
    _ answer: HTTPClientResponse?, _ key: Int, _ method: HTTPMethod, _ value: Int?, _ wanted: Int64?,
    from begin: UInt64, to end: UInt64
  ) {
    let text = answer.map { String(decoding: $0.body, as: UTF8.self) } ?? ""
    let isRead = method == .get
    func number(_ regex: Regex<(Substring, Substring)>) -> Int64? {
      text.firstMatch(of: regex).flatMap { Int64($0.1) }
    }
    switch answer?.status {
    case 200 where isRead:
      guard let version = number(/"version":([0-9]+)/), let value = number(/"value":([0-9]+)/) else {
        return lies.append(text)
      }
      histories[key].add(.read(.init(version: version, value: Int(value))), from: begin, to: end)
    case 404 where isRead: histories[key].add(.read(nil), from: begin, to: end)
    // A deletion of nothing is a read of nothing.
    case 404 where method == .delete: histories[key].add(.read(nil), from: begin, to: end)
    case 200:
      guard let version = number(/"new_version":([0-9]+)/) ?? number(/"version":([0-9]+)/) else {
        return lies.append(text)
      }
      histories[key].add(.wrote(value, ifVersion: wanted, version: version), from: begin, to: end)
      writes += 1
      if writes >= awaited { wrote.end() }
    case 412:
      let current = number(/"current":\{"version":([0-9]+)/)
      histories[key].add(.refused(ifVersion: wanted ?? 0, current: current), from: begin, to: end)
    case 503 where !text.contains("may be stored"): break
    // A balancer says so of a server whose answer it has not got.
    case 502, 503, 504, nil:
      if !isRead { histories[key].add(.wrote(value, ifVersion: wanted, version: nil), from: begin, to: end) }
    default: lies.append("\(answer?.status ?? 0) \(text)")
    }
  }

  /// Every key is one that a single store could have had, and all that was acknowledged is there, each version once.
  func check(at server: Int, on reactor: isolated Reactor) async throws {
    #expect(lies.isEmpty, "\(lies.prefix(3)); see it again: MILLRACE_SEED=\(seed)")
    let client = HTTPClient(bodyBytesMax: 64 << 20)
    for (key, history) in histories.enumerated() {
      var versions: [Int64] = []
      var values: [Int: Int64] = [:]
      var cursor: String?
      repeat {
        let target = "/history/key-\(key)?limit=1000" + (cursor.map { "&cursor=\($0)" } ?? "")
        let deadline = MonotonicTime.current() + .seconds(20 as UInt64)
        let answer = try await client.send(
          HTTPClientRequest(.get, target), to: addresses[server], until: deadline, on: reactor)
        #expect(answer.status == 200 || history.acknowledged.isEmpty, "key-\(key): \(answer.status)")
        let text = String(decoding: answer.body, as: UTF8.self)
        for match in text.matches(of: /"version":([0-9]+),[^{}]*?(?:"value":([0-9]+)|"deleted":true)\}/) {
          guard let version = Int64(match.1) else { continue }
          versions.append(version)
          if let value = match.2.flatMap({ Int($0) }) { values[value] = version }
        }
        cursor = text.firstMatch(of: /"next_cursor":"([0-9]+)"/).map { String($0.1) }
      } while cursor != nil
      #expect(
        history.resolved(by: values).isLinearizable,
        "key-\(key), \(history.count) calls; see it again: MILLRACE_SEED=\(seed)")
      #expect(versions == Array((1...Int64(max(versions.count, 1))).reversed().suffix(versions.count)), "key-\(key)")
      #expect(Set(history.acknowledged).count == history.acknowledged.count, "key-\(key): a version twice")
      #expect(Set(history.acknowledged).isSubset(of: versions), "key-\(key): an acknowledged version is missing")
    }
    client.closeIdle(on: reactor)
  }
}
