public import Basics
import Glibc

/// Waits for one connect to end. Edge-triggered: the socket becomes writable once, when the attempt is over.
public final class Connector: EventHandler {
  private var waiter: UnsafeContinuation<CInt, Never>?
  private lazy var timer = ReactorTimer(self)

  private override init() {}

  /// Connects to `address` and returns the descriptor, which belongs to the caller.
  /// - Throws: `SystemError`; `ETIMEDOUT` when `deadline` passed first.
  public static func connect(
    to address: SocketAddress, until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async throws(SystemError) -> CInt {
    let fd = try Socket.beginConnect(to: address)
    let connector = Connector()
    do {
      try reactor.register(connector, fd: fd, events: [.writable, .edgeTriggered])
    } catch {
      close(fd)
      throw error
    }
    let code = await connector.wait(until: deadline, fd: fd, on: reactor)
    reactor.deregister(fd: fd)
    if code != 0 {
      close(fd)
      throw SystemError(call: "connect", code: code)
    }
    return fd
  }

  private var fd: CInt = -1

  private func wait(until deadline: MonotonicTime, fd: CInt, on reactor: isolated Reactor) async -> CInt {
    self.fd = fd
    reactor.arm(timer, at: deadline)
    let code = await withUnsafeContinuation { waiter = $0 }
    reactor.cancel(timer)
    return code
  }

  /// The attempt is over.
  public override func ready(_ events: ReadyEvents, on reactor: isolated Reactor) {
    waiter.take()?.resume(returning: Socket.connectError(fd))
  }

  /// The attempt took too long.
  public override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    waiter.take()?.resume(returning: ETIMEDOUT)
  }
}
