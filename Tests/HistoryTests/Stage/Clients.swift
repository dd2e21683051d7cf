import Basics
import HTTP
import HTTPSyntax
import Reactor

/// Clients that write down what they ask and what they are told. What is not acknowledged they ask for again, as often
/// as it takes; which tasks they want, and how, follows from the seed.
final class Clients {
  private(set) var history = History()
  /// Where they ask.
  var address = SocketAddress("127.0.0.1:1")!
  /// How often each status was answered; 0 stands for none.
  private(set) var statuses: [Int: Int] = [:]
  /// How often the answer was 503 and did not say when to come again.
  private(set) var leftAlone = 0
  /// Whether they cancel some tasks, and want some of them later.
  var areFickle = false
  /// What they show to be let in; without it they ask for nothing that needs one.
  private var token: String?
  /// Whether they are to come to an end.
  var haveEnough = false
  private var random: SeededRandom
  private var tick = 0
  private var ids: [String: Int64] = [:]
  private var next = 0
  private var count = 0

  init(seed: UInt64) {
    random = SeededRandom(seed: seed)
  }

  /// The tasks that were acknowledged.
  var acknowledged: [Int64] { Array(ids.values) }

  /// `count` tasks more from `width` clients, all of them acknowledged at the end; sometimes they look at one. Nobody
  /// asks for longer than `seconds`.
  func submit(_ count: Int, width: Int = 8, within seconds: Double = 60, on reactor: isolated Reactor) async throws {
    self.count = next + count
    let deadline = reactor.now + .seconds(seconds)
    let all = (0..<width).map { _ in
      Task.immediate(executorPreference: reactor.queue) { () -> Bool in
        let client = HTTPClient()
        defer { client.closeIdle(on: reactor) }
        while next < self.count {
          next += 1
          guard await submit(number: next, client, until: deadline, on: reactor) else { return false }
          if chance(4), let id = ids.values.sorted().randomElement(using: &random) {
            await look(id, client, on: reactor)
          }
          if areFickle, chance(8), let id = ids.values.sorted().suffix(20).randomElement(using: &random) {
            await cancel(id, client, on: reactor)
          }
        }
        return true
      }
    }
    var isDone = true
    for client in all where await !client.value { isDone = false }
    if !isDone { throw StageError("not acknowledged within \(seconds) s: \(statuses)") }
  }

  /// Whether what happens once in `times` is to happen.
  private func chance(_ times: Int) -> Bool { Int.random(in: 0..<times, using: &random) == 0 }

  private func submit(
    number: Int, _ client: HTTPClient, until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async -> Bool {
    let (name, request) = wish(number)
    while true {
      let answer = await ask(request, name, client, on: reactor)
      if answer { return true }
      guard reactor.now < deadline else { return false }
      // As a client does that was refused; nothing tells it when that is over.
      await reactor.sleep(for: .milliseconds(50))
    }
  }

  /// What the task of a number is known by, and how it is asked for.
  private func wish(_ number: Int) -> (name: String, request: HTTPClientRequest) {
    let name = "task-\(number)"
    let priority = ["high", "normal", "low"].randomElement(using: &random)!
    // Identical hashes are found as well by what they are.
    let isNamed = !chance(3)
    let key = (name: "Idempotency-Key", value: "key-\(number)")
    // What has no name of its own and is wanted later is another task each time.
    let later = areFickle && isNamed && chance(6) ? "&run_at=\(Clients.time(afterMilliseconds: 800))" : ""
    if let token, chance(8) {
      let body = "{\"task\":\"\(name)\",\"duration\":0.3,\"fail\":\(chance(4))}"
      let fields = [key, ("Authorization", token)]
      return (body, HTTPClientRequest(.post, "/longtask?priority=\(priority)", fields: fields, body: Array(body.utf8)))
    }
    let kind = Bool.random(using: &random) ? "md5" : "sha256"
    let body = Array("{\"string\":\"\(name)\"}".utf8)
    let target = "/hash/\(kind)?priority=\(priority)\(later)"
    return (name, HTTPClientRequest(.post, target, fields: isNamed ? [key] : [], body: body))
  }

  /// `count` long tasks that take `seconds` each.
  func submitLong(_ count: Int, seconds: Double, on reactor: isolated Reactor) async throws {
    let client = HTTPClient()
    defer { client.closeIdle(on: reactor) }
    for number in 0..<count {
      let body = "{\"task\":\"long-\(number)\",\"duration\":\(seconds)}"
      let request = HTTPClientRequest(
        .post, "/longtask", fields: [("Authorization", token ?? "")], body: Array(body.utf8))
      guard await ask(request, body, client, on: reactor) else { throw StageError("\(statuses)") }
    }
  }

  /// Has them ask for long tasks, too, of which some fail: whoever asks gets a token.
  func getToken(on reactor: isolated Reactor) async throws {
    let client = HTTPClient()
    defer { client.closeIdle(on: reactor) }
    let answer = try await client.send(
      HTTPClientRequest(.get, "/token"), to: address, until: reactor.now + .seconds(20 as UInt64), on: reactor)
    token = Clients.part(of: String(decoding: answer.body, as: UTF8.self), from: "\"token\":\"", to: "\"")
  }

  private static func time(afterMilliseconds span: Int64) -> String {
    let time = Timestamp(microseconds: Timestamp.current().microseconds + span * 1000)
    return String(decoding: time.rfc3339, as: UTF8.self)
  }

  /// What comes of it others see.
  private func cancel(_ id: Int64, _ client: HTTPClient, on reactor: isolated Reactor) async {
    _ = try? await client.send(
      HTTPClientRequest(.post, "/task/\(id)/cancel"), to: address, until: reactor.now + .seconds(20 as UInt64),
      on: reactor)
  }

  /// Asks once; true if the task was acknowledged.
  @discardableResult
  func ask(
    _ request: HTTPClientRequest, _ name: String, _ client: HTTPClient, on reactor: isolated Reactor
  ) async -> Bool {
    let answer = try? await client.send(
      request, to: address, until: reactor.now + .seconds(20 as UInt64), on: reactor)
    statuses[answer?.status ?? 0, default: 0] += 1
    func note(_ answer: History.Submission.Answer) {
      history.submissions.append(History.Submission(name: name, answer: answer))
    }
    guard let answer else {
      note(.unknown)
      return false
    }
    if answer.status == 503, answer.field("retry-after") == nil { leftAlone += 1 }
    let body = String(decoding: answer.body, as: UTF8.self)
    switch answer.status {
    case 202:
      let id = answer.field("location").flatMap { Int64($0.dropFirst(6)) } ?? 0
      ids[name] = id
      note(.acknowledged(task: id))
      return true
    case 200:
      note(.done(result: Clients.part(of: body, from: "\"result\":", to: ",\"source\"")))
      return true
    default:
      // What the task store has not answered may have been queued.
      note(answer.status == 503 ? .unknown : .refused)
      return false
    }
  }

  /// `names` in one request; they are queued together. Returns their tasks.
  @discardableResult
  func submitTogether(
    _ names: [String], priority: String = "normal", on reactor: isolated Reactor
  ) async throws -> [Int64] {
    let client = HTTPClient()
    defer { client.closeIdle(on: reactor) }
    let strings = names.map { "\"\($0)\"" }.joined(separator: ",")
    let request = HTTPClientRequest(
      .post, "/hash/batch?priority=\(priority)", body: Array("{\"algorithm\":\"md5\",\"strings\":[\(strings)]}".utf8))
    let answer = try await client.send(
      request, to: address, until: reactor.now + .seconds(20 as UInt64), on: reactor)
    let body = String(decoding: answer.body, as: UTF8.self)
    let found = body.matches(of: /"task_id":(\d+)/).compactMap { Int64($0.1) }
    guard answer.status == 202, found.count == names.count else { throw StageError("\(answer.status): \(body)") }
    for (name, id) in zip(names, found) {
      ids[name] = id
      history.submissions.append(History.Submission(name: name, answer: .acknowledged(task: id)))
    }
    return found
  }

  /// All acknowledged tasks as their clients see them now.
  func lookAtAll(on reactor: isolated Reactor) async {
    let client = HTTPClient()
    defer { client.closeIdle(on: reactor) }
    for id in acknowledged.sorted() { await look(id, client, on: reactor) }
  }

  private func look(_ id: Int64, _ client: HTTPClient, on reactor: isolated Reactor) async {
    tick += 1
    let began = tick
    let answer = try? await client.send(
      HTTPClientRequest(.get, "/task/\(id)"), to: address, until: reactor.now + .seconds(20 as UInt64), on: reactor)
    tick += 1
    guard let answer, answer.status == 200 || answer.status == 404 else { return }
    var look = History.Look(task: id, began: began, ended: tick)
    if answer.status == 200 {
      let body = String(decoding: answer.body, as: UTF8.self)
      let result = Clients.part(of: body, from: "\"result\":", to: ",\"error\":")
      let error = Clients.part(of: body, from: ",\"error\":\"", to: "\",")
      look.sight = History.Look.Sight(
        status: Clients.part(of: body, from: "\"status\":\"", to: "\""),
        attempts: Int(Clients.part(of: body, from: "\"attempts\":", to: ",")) ?? -1,
        outcome: result == "null" ? error : result)
    }
    history.looks.append(look)
  }

  /// What stands in `text` behind `start` and before `end`.
  private static func part(of text: String, from start: String, to end: String) -> String {
    guard let start = text.firstRange(of: start), let end = text[start.upperBound...].firstRange(of: end) else {
      return ""
    }
    return String(text[start.upperBound..<end.lowerBound])
  }
}
