import Basics
import HTTP
import HTTPSyntax
import Reactor

/// The other servers of the store, as far as this one was told of them.
final class Peers {
  /// Those that are not this one.
  let others: [KeyValuePeer]
  private let client = HTTPClient(bodyBytesMax: Limits.peerAnswerBytesMax)

  init(_ all: [KeyValuePeer], own: String) {
    others = all.filter { $0.name != own }
  }

  /// The other server called `name`, nil if this one was told of none.
  func named(_ name: String) -> KeyValuePeer? { others.first { $0.name == name } }

  /// The answer of a server, nil if none comes in time.
  func ask(
    _ peer: KeyValuePeer, _ method: HTTPMethod, _ target: String, on reactor: isolated Reactor
  ) async -> HTTPClientResponse? {
    try? await client.send(
      HTTPClientRequest(method, target), to: peer.address, until: reactor.now + Limits.peerPatience, on: reactor)
  }

  /// The answers of all of them, in their order; all are asked at once.
  func askAll(
    _ method: HTTPMethod, _ target: @escaping (KeyValuePeer) -> String, on reactor: isolated Reactor
  ) async -> [HTTPClientResponse?] {
    var answers: [HTTPClientResponse?] = Array(repeating: nil, count: others.count)
    let tasks = others.enumerated().map { index, peer in
      Task.immediate(executorPreference: reactor.queue) {
        answers[index] = await ask(peer, method, target(peer), on: reactor)
      }
    }
    for task in tasks { await task.value }
    return answers
  }

  func close(on reactor: isolated Reactor) { client.closeIdle(on: reactor) }
}
