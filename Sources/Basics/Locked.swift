import Glibc

/// State that several threads use one at a time, and a way to wait until it has changed.
///
/// On POSIX threads rather than on `Synchronization.Mutex`, whose lock the thread sanitizer does not see: no request
/// takes one of these locks, so a run that can find real races is worth more than the nanoseconds.
public final class Locked<State>: @unchecked Sendable {
  // Safe because: `state` is reached only while `mutex` is held, and the two pointers never change.
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let changed = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private var state: State

  /// Guards `state` from now on.
  public init(_ state: sending State) {
    self.state = state
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(changed, nil)
  }

  deinit {
    pthread_cond_destroy(changed)
    pthread_mutex_destroy(mutex)
    changed.deallocate()
    mutex.deallocate()
  }

  /// Runs `body` while no other thread touches the state.
  /// - Throws: what `body` throws.
  public func withLock<Result, Failure: Error>(
    _ body: (inout sending State) throws(Failure) -> sending Result
  ) throws(Failure) -> sending Result {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return try body(&state)
  }

  /// Wakes the threads that wait in `wait(until:)`; they look again.
  public func notifyAll() {
    pthread_cond_broadcast(changed)
  }

  /// Sleeps until `body` returns a value; it is asked again after every `notifyAll`.
  /// - Parameter seconds: how long to wait at most; nil for ever.
  /// - Returns: what `body` returned; nil if it did not in time.
  public func wait<Result>(
    atMost seconds: Int? = nil, until body: (inout sending State) -> sending Result?
  ) -> sending Result? {
    var deadline = timespec()
    clock_gettime(CLOCK_REALTIME, &deadline)
    deadline.tv_sec += seconds ?? 0
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    while true {
      if let result = body(&state) { return result }
      let code =
        seconds == nil ? pthread_cond_wait(changed, mutex) : pthread_cond_timedwait(changed, mutex, &deadline)
      if code == ETIMEDOUT { return nil }
    }
  }
}
