import Reactor

/// Runs `body` on a reactor of its own, on a thread of its own, and waits for both without blocking the test's thread
/// for longer than the other one takes to end.
@discardableResult
public func onReactor<R: Sendable>(_ body: @escaping @Sendable (isolated Reactor) async throws -> R) async throws -> R {
  let (results, feed) = AsyncStream.makeStream(of: Result<R, any Error>.self)
  let thread = try Reactor.startThread(name: "test") { reactor in
    Task.immediate(executorPreference: reactor.queue) {
      do { feed.yield(.success(try await body(reactor))) } catch { feed.yield(.failure(error)) }
      reactor.stop()
      feed.finish()
    }
  }
  var last: Result<R, any Error>?
  for await result in results { last = result }
  // Past its time limit the test is cancelled. What it waits for may never come, so its thread is left alone.
  guard let last else { throw CancellationError() }
  thread.join()
  return try last.get()
}
