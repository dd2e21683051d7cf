import Backends
import Basics
import Glibc
import Reactor
import Telemetry

/// A running balancer: its reactors, each on a thread of its own.
final class BalancerInstance: Sendable {
  /// Where it listens, with the port that the kernel chose if 0 was asked for.
  public let address: SocketAddress
  private let threads: [ReactorThread]
  private let mail: [ReactorMail]
  private let shared: BalancerShared

  /// Starts a balancer. `prepare` is called on each reactor before it serves.
  /// - Throws: `SystemError` if the address is taken or not allowed, or the system is out of descriptors or threads.
  public init(
    _ configuration: BalancerConfiguration, log: Logger, metrics: Metrics,
    prepare: @escaping @Sendable (isolated Reactor) -> Void = { _ in }
  ) throws(SystemError) {
    precondition(1...64 ~= configuration.reactors, "a balancer has 1 to 64 reactors")
    var configuration = configuration
    let kept = BalancerLimits.descriptorsKept + 4 * configuration.reactors
    let shares = BalancerLimits.shares(of: (DescriptorLimit.free - kept) / configuration.reactors)
    configuration.clientsMax = min(configuration.clientsMax, shares.clients)
    configuration.linksMax = min(configuration.linksMax, shares.links)
    let mail = (0..<configuration.reactors).map { _ in ReactorMail() }
    let shared = BalancerShared(configuration, metrics: metrics, log: log, mail: mail)
    let lookUps = min(configuration.names.count, BackendLimits.lookUpThreadsMax)
    let resolvers = lookUps > 0 ? try ComputePool(width: lookUps, name: "resolver") : nil
    let listening = try BalancerInstance.listen(configuration)
    address = Socket.localAddress(listening[0])
    var threads: [ReactorThread] = []
    threads.append(
      try Reactor.startThread(index: configuration.reactors, name: "balance-ops") { reactor in
        prepare(reactor)
        TurnSign(shared.turned[mail.count]).show(on: reactor)
        BalancerInstance.operate(shared, resolvers, on: reactor)
      })
    for (index, fd) in listening.enumerated() {
      let box = mail[index]
      threads.append(
        try Reactor.startThread(index: index, name: "balance-\(index)") { reactor in
          prepare(reactor)
          TurnSign(shared.turned[index]).show(on: reactor)
          BalancerInstance.run(shared, listening: fd, orders: box, on: reactor)
        })
    }
    self.threads = threads
    self.mail = mail
    self.shared = shared
    log.info(
      "balancing",
      [
        ("listens", address.description),
        ("backends", (configuration.backends.map(\.name) + configuration.names.map(\.name)).joined(separator: ",")),
      ])
  }

  /// Puts other backends in the place of the present ones; requests in progress go on where they are.
  func replaceBackends(by backends: [BackendAddress]) {
    shared.register.replaceBackends(by: backends)
  }

  /// Takes no new connections, lets requests in progress end within `span`, and then ends the threads.
  public func drain(within span: TimeSpan = BalancerLimits.drain) {
    for box in mail { box.send(.drain(within: span)) }
  }

  /// Waits until all threads have ended.
  public func join() {
    for thread in threads.dropFirst() { thread.join() }
    shared.operations.finish()
    threads[0].join()
  }

  /// Whether every reactor has turned within `span`, that of the operations too.
  func turns(within span: TimeSpan, at now: MonotonicTime) -> Bool {
    shared.turned.allSatisfy { now.milliseconds < $0.ms + span.milliseconds }
  }

  /// One listening socket a reactor, all on the same port: the kernel spreads connections over them. A Unix socket
  /// cannot be shared so and takes one reactor. One that was handed over is shared: whoever comes first takes a
  /// connection.
  private static func listen(_ configuration: BalancerConfiguration) throws(SystemError) -> [CInt] {
    var listening: [CInt] = []
    var address = configuration.listen
    precondition(!address.isUnix || configuration.reactors == 1, "a Unix socket takes one reactor")
    do throws(SystemError) {
      for index in 0..<configuration.reactors {
        guard let fd = try InheritedSockets.take(address, index: index) else { break }
        listening.append(fd)
      }
      if !listening.isEmpty { return listening }
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
    _ shared: BalancerShared, listening fd: CInt, orders: ReactorMail, on reactor: isolated Reactor
  ) {
    let proxy = ProxyReactor(shared)
    do throws(SystemError) {
      try proxy.start(adopting: fd, on: reactor)
    } catch {
      // Nothing but a lack of memory can refuse an epoll registration this early; the other reactors go on without it.
      shared.log.error("a reactor cannot listen", [("error", "\(error)")])
      close(fd)
    }
    Task.immediate(executorPreference: reactor.queue) {
      await proxy.follow(orders, on: reactor)
      reactor.stop()
    }
  }

  /// The balancer's own endpoints, the health checks, and the look-ups of names.
  private static func operate(_ shared: BalancerShared, _ resolvers: ComputePool?, on reactor: isolated Reactor) {
    let health = HealthChecker(shared.register)
    health.start(on: reactor)
    let names = resolvers.map { NameWatcher(shared.register, pool: $0) }
    names?.start(on: reactor)
    Task.immediate(executorPreference: reactor.queue) {
      await shared.operations.serve(shared, on: reactor)
      names?.stop()
      await health.stop(on: reactor)
      reactor.stop()
    }
  }
}
