import Basics
import HTTP
import Hashing
import Reactor

/// Clients of a running system: each sends one hash task after the other over connections of its own, tries again what
/// was not acknowledged, and afterwards asks for every acknowledged task.
final class Crowd {
  private let address: SocketAddress
  private let prefix: String
  private let total: Int
  private var next = 0
  /// What is still to be done when half is acknowledged.
  private var atHalf: (() -> Void)?
  /// The task of each number, or 0 if the answer was the result itself.
  private(set) var acknowledged: [Int: Int64] = [:]
  /// How often each status was answered; 0 stands for a connection that ended without an answer.
  private(set) var statuses: [Int: Int] = [:]
  /// 503 answers that did not say when to come again.
  private(set) var unhelpful = 0
  /// Numbers whose task is completed with the right hash.
  private(set) var correct = 0
  private(set) var wrong: [String] = []

  init(port: Int, prefix: String, total: Int) {
    address = SocketAddress("127.0.0.1:\(port)")!
    self.prefix = prefix
    self.total = total
  }

  /// Submits everything over `width` connections; `atHalf` is called once, when half is acknowledged.
  func submitAll(width: Int, atHalf: @escaping () -> Void, on reactor: isolated Reactor) async {
    self.atHalf = atHalf
    let clients = (0..<width).map { _ in
      Task.immediate(executorPreference: reactor.queue) { await self.submit(on: reactor) }
    }
    for client in clients { await client.value }
  }

  /// Asks for every acknowledged task until it is over.
  func checkAll(width: Int, on reactor: isolated Reactor) async {
    next = 0
    let clients = (0..<width).map { _ in
      Task.immediate(executorPreference: reactor.queue) { await self.check(on: reactor) }
    }
    for client in clients { await client.value }
  }

  private func text(_ number: Int) -> String { "\(prefix)-\(number)" }

  private func submit(on reactor: isolated Reactor) async {
    let client = HTTPClient()
    while next < total {
      let number = next
      next += 1
      while acknowledged[number] == nil {
        await submitOnce(number, client, on: reactor)
        if acknowledged.count >= total / 2 {
          atHalf?()
          atHalf = nil
        }
        // As a client does that was refused or found nobody; nothing tells it when that is over.
        if acknowledged[number] == nil { await reactor.sleep(for: .milliseconds(20)) }
      }
    }
  }

  private func submitOnce(_ number: Int, _ client: HTTPClient, on reactor: isolated Reactor) async {
    let body = Array("{\"string\":\"\(text(number))\"}".utf8)
    let request = HTTPClientRequest(.post, "/hash/sha256", body: body)
    let deadline = reactor.now + .seconds(30 as UInt64)
    guard let answer = try? await client.send(request, to: address, until: deadline, on: reactor) else {
      statuses[0, default: 0] += 1
      return
    }
    statuses[answer.status, default: 0] += 1
    if answer.status == 503, answer.field("retry-after") == nil { unhelpful += 1 }
    if answer.status == 200 { acknowledged[number] = 0 }
    if answer.status == 202 { acknowledged[number] = answer.field("location").flatMap { Int64($0.dropFirst(6)) } }
  }

  private func check(on reactor: isolated Reactor) async {
    let client = HTTPClient()
    while next < total {
      let number = next
      next += 1
      let hash = String(decoding: SHA256.digest(of: Array(text(number).utf8)).hex, as: UTF8.self)
      let id = acknowledged[number] ?? 0
      let request =
        id > 0
        ? HTTPClientRequest(.get, "/task/\(id)?wait=30")
        : HTTPClientRequest(.post, "/hash/sha256", body: Array("{\"string\":\"\(text(number))\"}".utf8))
      let deadline = reactor.now + .seconds(60 as UInt64)
      let answer = try? await client.send(request, to: address, until: deadline, on: reactor)
      let found = String(decoding: answer?.body ?? [], as: UTF8.self)
      if answer?.status == 200, found.contains(hash), found.contains("\"\(text(number))\"") {
        correct += 1
      } else {
        wrong.append("\(number): \(answer?.status ?? 0) \(found)")
      }
    }
    client.closeIdle(on: reactor)
  }
}

/// Clients that all want the same hash at the same moment.
final class SameCrowd {
  private let address: SocketAddress
  private(set) var ids: Set<Int64> = []

  init(port: Int) {
    address = SocketAddress("127.0.0.1:\(port)")!
  }

  func submit(count: Int, on reactor: isolated Reactor) async {
    let clients = (0..<count).map { _ in
      Task.immediate(executorPreference: reactor.queue) {
        let request = HTTPClientRequest(.post, "/hash/md5", body: Array(#"{"string":"same"}"#.utf8))
        let deadline = reactor.now + .seconds(30 as UInt64)
        let answer = try? await HTTPClient().send(request, to: address, until: deadline, on: reactor)
        ids.insert(answer?.status == 200 ? 0 : answer?.field("location").flatMap { Int64($0.dropFirst(6)) } ?? -1)
      }
    }
    for client in clients { await client.value }
  }
}

/// Looks again and again whether something `isSo`, for what nobody but a process's answers or its log tells of.
/// - Throws: `CancellationError` if it does not come about in a minute.
func wait(on reactor: isolated Reactor, until isSo: () throws -> Bool) async throws {
  let deadline = reactor.now + .seconds(60 as UInt64)
  while try !isSo() {
    guard reactor.now < deadline else { throw CancellationError() }
    await reactor.sleep(for: .milliseconds(10))
  }
}
