import Basics
import Glibc

/// Plain threads for work that computes or blocks (argon2, name lookups, file syncs), so that no reactor ever does.
/// The result comes back to the waiting task's reactor through its eventfd.
public final class ComputePool: @unchecked Sendable {
  // Safe because: everything mutable is behind `mutex`.

  /// More than `Limits.computeJobsMax` jobs wait already, or the pool was shut down.
  public struct Refused: Error, Sendable {}

  private var mutex = pthread_mutex_t()
  private var arrived = pthread_cond_t()
  private var jobs = RingQueue<@Sendable () -> Void>()
  private var threads: [pthread_t] = []
  private var isClosed = false
  /// How many threads compute.
  public let width: Int

  /// Starts `width` threads named `name`.
  /// - Throws: `SystemError` if the system has no more threads.
  public init(width: Int, name: String = "compute") throws(SystemError) {
    precondition(width > 0, "a compute pool needs a thread")
    self.width = width
    pthread_mutex_init(&mutex, nil)
    pthread_cond_init(&arrived, nil)
    for _ in 0..<width { threads.append(try start(name)) }
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
  public func shutdown() {
    pthread_mutex_lock(&mutex)
    isClosed = true
    pthread_cond_broadcast(&arrived)
    pthread_mutex_unlock(&mutex)
    for thread in threads { pthread_join(thread, nil) }
    threads.removeAll()
  }

  private func submit(_ job: @escaping @Sendable () -> Void) -> Bool {
    pthread_mutex_lock(&mutex)
    defer { pthread_mutex_unlock(&mutex) }
    guard !isClosed, jobs.count < Limits.computeJobsMax else { return false }
    jobs.append(job)
    pthread_cond_signal(&arrived)
    return true
  }

  private func start(_ name: String) throws(SystemError) -> pthread_t {
    var thread = pthread_t()
    let code = pthread_create(
      &thread, nil,
      { argument in
        Unmanaged<ComputePool>.fromOpaque(argument!).takeRetainedValue().work()
        return nil
      }, Unmanaged.passRetained(self).toOpaque())
    guard code == 0 else { throw SystemError(call: "pthread_create", code: code) }
    nameThread(thread, name)
    return thread
  }

  private func work() {
    while true {
      pthread_mutex_lock(&mutex)
      while jobs.isEmpty && !isClosed { pthread_cond_wait(&arrived, &mutex) }
      let job = jobs.popFirst()
      pthread_mutex_unlock(&mutex)
      guard let job else { return }
      job()
    }
  }
}
