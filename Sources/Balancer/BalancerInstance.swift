public import Basics
import Glibc
public import Reactor
public import Telemetry

/// A running balancer: its reactors, each on a thread of its own.
public final class BalancerInstance: Sendable {
  /// Where it listens, with the port that the kernel chose if 0 was asked for.
  public let address: SocketAddress
  private let threads: [ReactorThread]
  private let orders: [DrainOrder]

  /// Starts a balancer.
  /// - Throws: `SystemError` if the address is taken or not allowed, or the system is out of descriptors or threads.
  public init(_ configuration: BalancerConfiguration, log: Logger, metrics: Metrics) throws(SystemError) {
    precondition(1...64 ~= configuration.reactors, "a balancer has 1 to 64 reactors")
    let shared = BalancerShared(configuration, metrics: metrics, log: log)
    let listening = try BalancerInstance.listen(configuration)
    address = Socket.localAddress(listening[0])
    var threads: [ReactorThread] = []
    let orders = listening.map { _ in DrainOrder() }
    for (index, fd) in listening.enumerated() {
      let order = orders[index]
      threads.append(
        try Reactor.startThread(index: index, name: "balance-\(index)") { reactor in
          BalancerInstance.run(shared, listening: fd, isFirst: index == 0, until: order, on: reactor)
        })
    }
    self.threads = threads
    self.orders = orders
    log.info(
      "balancing",
      [("listens", address.description), ("backends", configuration.backends.map(\.name).joined(separator: ","))])
  }

  /// Takes no new connections, lets requests in progress end within `span`, and then ends the threads.
  public func drain(within span: TimeSpan = BalancerLimits.drain) {
    for order in orders { order.give(span) }
  }

  /// Waits until all threads have ended.
  public func join() {
    for thread in threads { thread.join() }
  }

  /// One listening socket a reactor, all on the same port: the kernel spreads connections over them. A Unix socket
  /// cannot be shared so and takes one reactor.
  private static func listen(_ configuration: BalancerConfiguration) throws(SystemError) -> [CInt] {
    var listening: [CInt] = []
    var address = configuration.listen
    precondition(!address.isUnix || configuration.reactors == 1, "a Unix socket takes one reactor")
    do throws(SystemError) {
      // A socket that may be shared would be let in beside one of another process, and take a part of its connections.
      if configuration.reactors > 1 { close(try Socket.listen(on: address)) }
      for _ in 0..<configuration.reactors {
        listening.append(try Socket.listen(on: address, reusePort: configuration.reactors > 1))
        address = Socket.localAddress(listening[0])
      }
    } catch {
      for fd in listening { close(fd) }
      throw error
    }
    return listening
  }

  private static func run(
    _ shared: BalancerShared, listening fd: CInt, isFirst: Bool, until order: DrainOrder, on reactor: isolated Reactor
  ) {
    let proxy = ProxyReactor(shared)
    let health = isFirst ? HealthChecker(shared) : nil
    do throws(SystemError) {
      try proxy.start(adopting: fd, on: reactor)
    } catch {
      // Nothing but a lack of memory can refuse an epoll registration this early; the other reactors go on without it.
      shared.log.error("a reactor cannot listen", [("error", "\(error)")])
      close(fd)
    }
    health?.start(on: reactor)
    Task.immediate(executorPreference: reactor.queue) {
      let span = await order.wait()
      await proxy.drain(until: reactor.now + span, on: reactor)
      await health?.stop(on: reactor)
      reactor.stop()
    }
  }
}

/// Tells a reactor from another thread to drain.
private final class DrainOrder: Sendable {
  private struct State {
    var span: TimeSpan?
    var waiter: UnsafeContinuation<TimeSpan, Never>?
  }
  private let state = Locked(State())

  /// Gives the order; a second one changes nothing.
  func give(_ span: TimeSpan) {
    let waiter = state.withLock { state in
      if state.span == nil { state.span = span }
      return state.waiter.take()
    }
    waiter?.resume(returning: span)
  }

  func wait() async -> TimeSpan {
    await withUnsafeContinuation { waiter in
      let given = state.withLock { state in
        if state.span == nil { state.waiter = waiter }
        return state.span
      }
      if let given { waiter.resume(returning: given) }
    }
  }
}
