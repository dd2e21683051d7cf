import Balancing
import Basics
import Glibc
import HTTP
import HTTPSyntax
import Reactor
import Telemetry

/// What the connections of one reactor share: memory for what lives within one event, the parsers, the connections to
/// backends that wait for work, and the list of clients.
final class ProxyReactor: EventHandler, ConnectionAcceptor {
  let shared: BalancerShared
  /// What was just read.
  let received = ByteScratch(capacity: BalancerLimits.receiveBytes)
  /// What is about to be sent.
  let sending = ByteScratch(capacity: BalancerLimits.sendBytes)
  let requestHead = RequestHead()
  let responseHead = ResponseHead()
  let upstreams: UpstreamPool
  let admin: Router<AdminContext>
  var random = SeededRandom.fromSystem()
  private(set) var isDraining = false

  /// An outage fails every request; the log needs to be told less often.
  var problemLines = LogBudget(linesPerSecond: 20)
  private var date = DateField()
  private var listener: Listener?
  private var clients: [ClientConnection] = []
  private lazy var sweepTimer = ReactorTimer(self)
  private let drained = Pause()

  init(_ shared: BalancerShared) {
    self.shared = shared
    upstreams = UpstreamPool(backends: shared.pool.backends.count)
    admin = AdminRoutes.router(AdminContext(shared))
  }

  /// Starts to take connections from `listening`, a listening socket.
  func start(adopting listening: CInt, on reactor: isolated Reactor) throws(SystemError) {
    listener = try Listener(adopting: listening, acceptor: self, on: reactor)
    reactor.arm(sweepTimer, after: BalancerLimits.sweep)
  }

  /// The `Date` line of now.
  var dateLine: [UInt8] {
    date.update(.current())
    return date.line
  }

  func accepted(_ fd: CInt, from peer: SocketAddress, on reactor: isolated Reactor) {
    guard clients.count < shared.configuration.clientsMax, !isDraining else {
      shared.metrics.turnedAway.increment()
      return ConnectionRefusal.refuse(fd)
    }
    let client = ClientConnection(proxy: self, fd: fd, peer: peer)
    do {
      // Edge-triggered: a short read tells that the kernel has no more, so a request costs one `recv`.
      try reactor.register(client, fd: fd, events: ClientConnection.readEvents)
    } catch {
      close(fd)
      return
    }
    client.position = clients.count
    clients.append(client)
    shared.metrics.clients.add(1)
    client.opened(on: reactor)
  }

  func acceptingPaused(_ error: SystemError, on reactor: isolated Reactor) {
    shared.log.warning("accepting connections rests for a moment", [("reason", "\(error)")])
  }

  func closed(_ client: ClientConnection, on reactor: isolated Reactor) {
    let last = clients.removeLast()
    if last !== client {
      clients[client.position] = last
      last.position = client.position
    }
    shared.metrics.clients.add(-1)
    if isDraining, clients.isEmpty { drained.end() }
  }

  /// Stops listening, closes what is idle, and returns when the requests in progress have ended or `deadline` has
  /// passed.
  func drain(until deadline: MonotonicTime, on reactor: isolated Reactor) async {
    isDraining = true
    listener?.close(on: reactor)
    listener = nil
    for client in clients { client.drain(on: reactor) }
    if !clients.isEmpty { await drained.wait(until: deadline, on: reactor) }
    for client in clients { client.close(on: reactor) }
    upstreams.closeAll(on: reactor)
    reactor.cancel(sweepTimer)
  }

  override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    upstreams.sweep(on: reactor)
    reactor.arm(sweepTimer, after: BalancerLimits.sweep)
  }
}
