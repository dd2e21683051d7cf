import Reactor

/// The answers to several commands that were sent together, as they come in.
final class RedisBatch {
  private var values: [RedisValue] = []
  private var failure: RedisError?
  private let expected: Int
  private var waiter: UnsafeContinuation<Void, Never>?

  init(expected: Int) {
    self.expected = expected
    values.reserveCapacity(expected)
  }

  private var isComplete: Bool { failure != nil || values.count == expected }

  /// The answers in order, refusals among them as `.error`; one caller waits for them.
  /// - Throws: `RedisError` if not all were answered.
  func answers(on reactor: isolated Reactor) async throws(RedisError) -> [RedisValue] {
    if !isComplete { await withUnsafeContinuation { waiter = $0 } }
    if let failure { throw failure }
    return values
  }

  func collect(_ outcome: Result<RedisValue, RedisError>) {
    guard !isComplete else { return }
    switch outcome {
    case .failure(let error): failure = error
    case .success(let value): values.append(value)
    }
    if isComplete { waiter.take()?.resume() }
  }
}
