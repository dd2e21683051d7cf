import Reactor

/// Runs `body` on a reactor of its own, on a thread of its own, and waits for it without blocking the test's thread.
@discardableResult
public func onReactor<R: Sendable>(_ body: @escaping @Sendable (isolated Reactor) async throws -> R) async throws -> R {
  let result: Result<R, any Error> = await withCheckedContinuation { continuation in
    do {
      _ = try Reactor.startThread(name: "test") { reactor in
        Task.immediate(executorPreference: reactor.queue) {
          let result: Result<R, any Error>
          do { result = .success(try await body(reactor)) } catch { result = .failure(error) }
          reactor.stop()
          continuation.resume(returning: result)
        }
      }
    } catch {
      continuation.resume(returning: .failure(error))
    }
  }
  return try result.get()
}
