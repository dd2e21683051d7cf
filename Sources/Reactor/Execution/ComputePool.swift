import Basics
import Glibc

/// Plain threads for work that computes or blocks (argon2, name lookups, file syncs), so that no reactor ever does.
/// The result comes back to the waiting task's reactor through its eventfd.
public final class ComputePool: Sendable {
  /// More than `Limits.computeJobsMax` jobs wait already, or the pool was shut down.
  public struct Refused: Error, Sendable {}

  private struct State {
    var jobs = RingQueue<@Sendable () -> Void>()
    var threads: [pthread_t] = []
    var isClosed = false

    /// Nil while there is nothing to do.
    var next: Next? {
      mutating get {
        if let job = jobs.popFirst() { return .job(job) }
        return isClosed ? .end : nil
      }
    }
  }

  private enum Next {
    case job(@Sendable () -> Void)
    case end
  }

  private let state = Locked(State())
  /// How many threads compute.
  public let width: Int

  /// Starts `width` threads named `name`.
  /// - Throws: `SystemError` if the system has no more threads.
  public init(width: Int, name: String = "compute") throws(SystemError) {
    precondition(width > 0, "a compute pool needs a thread")
    self.width = width
    do throws(SystemError) {
      for _ in 0..<width { try start(name) }
    } catch {
      shutdown()
      throw error
    }
  }

  /// Runs `work` on a thread of the pool and suspends the calling task meanwhile.
  /// - Throws: `Refused` if too much waits already.
  public func run<R: Sendable>(
    on reactor: isolated Reactor, _ work: @escaping @Sendable () -> R
  ) async throws(Refused) -> R {
    let result: R? = await withUnsafeContinuation { continuation in
      if !submit({ continuation.resume(returning: work()) }) { continuation.resume(returning: nil) }
    }
    guard let result else { throw Refused() }
    return result
  }

  /// Lets the threads end when the jobs already accepted are done, and waits for them.
  func shutdown() {
    let threads = state.withLock { state in
      state.isClosed = true
      let threads = state.threads
      state.threads = []
      return threads
    }
    state.notifyAll()
    for thread in threads { pthread_join(thread, nil) }
  }

  private func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
    let isAccepted = state.withLock { state in
      guard !state.isClosed, state.jobs.count < Limits.computeJobsMax else { return false }
      state.jobs.append(job)
      return true
    }
    state.notifyAll()
    return isAccepted
  }

  private func start(_ name: String) throws(SystemError) {
    var thread = pthread_t()
    let code = pthread_create(
      &thread, nil,
      { argument in
        Unmanaged<ComputePool>.fromOpaque(argument!).takeRetainedValue().work()
        return nil
      }, Unmanaged.passRetained(self).toOpaque())
    guard code == 0 else { throw SystemError(call: "pthread_create", code: code) }
    nameThread(thread, name)
    let started = thread
    state.withLock { $0.threads.append(started) }
  }

  private func work() {
    while case .job(let job)? = state.wait(until: { $0.next }) { job() }
  }
}
