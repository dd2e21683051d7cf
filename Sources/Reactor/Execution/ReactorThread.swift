import CLinux
import Glibc

/// The thread that runs a reactor.
public final class ReactorThread: @unchecked Sendable {
  // Safe because: both are set before any other thread can see the object and never change.
  /// The reactor that the thread runs.
  public let reactor: Reactor
  private var thread = pthread_t()

  private struct Start {
    let reactor: Reactor
    let body: @Sendable (isolated Reactor) -> Void
  }

  init(
    reactor: Reactor, name: String, _ body: @escaping @Sendable (isolated Reactor) -> Void
  ) throws(SystemError) {
    self.reactor = reactor
    let start = UnsafeMutablePointer<Start>.allocate(capacity: 1)
    start.initialize(to: Start(reactor: reactor, body: body))
    let code = pthread_create(
      &thread, nil,
      { argument in
        let start = argument!.assumingMemoryBound(to: Start.self).move()
        argument!.deallocate()
        start.reactor.runOnCallingThread(start.body)
        return nil
      }, start)
    guard code == 0 else { throw SystemError(call: "pthread_create", code: code) }
    nameThread(thread, name)
  }

  /// Waits until the reactor was stopped and its thread has ended.
  public func join() {
    pthread_join(thread, nil)
  }
}

/// Names a thread as `top -H` and debuggers show it, cut at 15 bytes.
func nameThread(_ thread: pthread_t, _ name: String) {
  clinux_name_thread(thread, name)
}
