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

  /// The answer of a server, nil if none comes within `patience`.
  func ask(
    _ peer: KeyValuePeer, _ method: HTTPMethod, _ target: String, within patience: TimeSpan = Limits.peerPatience,
    call: HTTPClientCall? = nil, on reactor: isolated Reactor
  ) async -> HTTPClientResponse? {
    try? await client.send(
      HTTPClientRequest(method, target), to: peer.address, until: reactor.now + patience, call: call, on: reactor)
  }

  /// The answers to `questions`, in their order; all are asked at once.
  func askAll(
    _ questions: [(peer: KeyValuePeer, target: String)], within patience: TimeSpan = Limits.peerPatience,
    on reactor: isolated Reactor
  ) async -> [HTTPClientResponse?] {
    var answers: [HTTPClientResponse?] = Array(repeating: nil, count: questions.count)
    let tasks = questions.enumerated().map { index, question in
      Task.immediate(executorPreference: reactor.queue) {
        answers[index] = await ask(question.peer, .get, question.target, within: patience, on: reactor)
      }
    }
    for task in tasks { await task.value }
    return answers
  }

  func close(on reactor: isolated Reactor) { client.closeIdle(on: reactor) }
}
