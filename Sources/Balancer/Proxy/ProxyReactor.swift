import Backends
import Balancing
import Basics
import CLinux
import Exchange
import Glibc
import HTTP
import HTTPSyntax
import Reactor
import Telemetry

/// What the sessions of one reactor share: memory for what lives within one event, the parsers, the connections to
/// backends that wait for work, the requests that wait for a backend, and the list of sessions.
final class ProxyReactor: EventHandler, ConnectionAcceptor {
  let shared: BalancerShared
  /// Whether clients are told which backend has answered.
  let exposesBackend: Bool
  /// How long exchanges wait for each thing.
  let times: ExchangeTimes
  /// What was just read.
  let received = ByteScratch(capacity: BalancerLimits.receiveBytes)
  /// Whether that is a copy of what the session still keeps.
  var holdsCopy = false
  /// What is about to be sent.
  let sending = ByteScratch(capacity: BalancerLimits.sendBytes)
  let requestHead = RequestHead()
  let responseHead = ResponseHead()
  /// Bytes that the session whose turn it is has read in it.
  var bytesThisTurn = 0
  /// What was wrong with the head that was refused last.
  var headError = HeadError.invalidStartLine
  let upstreams = UpstreamPool()
  /// Requests that wait for a backend,
  private let waiting = WaitingLine()
  /// and those for keys: that no server of keys is there keeps nobody else waiting.
  private let waitingForKeys = WaitingLine()
  /// What sessions hold that somebody does not take.
  let held: HeldBytes
  /// The backends as this reactor knows them.
  private(set) var backends: BackendSet
  /// Those of them that keys are at.
  private(set) var keyServers: KeyServers
  /// Tells which requests are for keys; nil if there are no servers of keys.
  let keyRoute: KeyRoute?
  var random = SeededRandom.fromSystem()
  private(set) var isDraining = false

  private var date = DateField()
  private let dateBytes = ByteScratch(capacity: 64)
  private var dateCheckedAt = MonotonicTime(nanoseconds: 0)
  private var listener: Listener?
  private(set) var sessions: [HTTP1Session] = []
  /// Bytes of requests that nobody has now, and how many somebody has.
  private var lent: [RequestBytes] = []
  private var lentOut = 0
  /// The fewest that nobody had since the last sweep: so many were not needed.
  private var lentLeast = 0
  /// Buffers, sessions and links that were freed since memory was given back to the system.
  private var freed = 0
  private lazy var sweepTimer = ReactorTimer(self)
  private lazy var lineTimer = ReactorTimer(self)
  private var servesLine = false
  /// Whether clients wait to be let in because nobody could give way.
  private(set) var isAwaitingRoom = false
  private var sheds = false
  private let drained = Pause()

  init(_ shared: BalancerShared) {
    self.shared = shared
    times = shared.configuration.times
    held = HeldBytes(
      limit: shared.configuration.memoryBytes / 4 / shared.configuration.reactors, metrics: shared.metrics.buffers)
    exposesBackend = shared.configuration.exposesBackend
    backends = shared.register.backends
    let partitions = shared.configuration.partitions
    keyServers = KeyServers(backends, partitions: partitions)
    keyRoute = backends.keyServers.isEmpty ? nil : KeyRoute(partitions: partitions)
  }

  /// Starts to take connections from `listening`, a listening socket.
  func start(adopting listening: CInt, on reactor: isolated Reactor) throws(SystemError) {
    upstreams.retain(backends, on: reactor)
    listener = try Listener(adopting: listening, acceptor: self, on: reactor)
    reactor.arm(sweepTimer, after: BalancerLimits.sweep)
  }

  /// The `Date` line of now.
  var dateLine: [UInt8] {
    date.update(.current())
    return date.line
  }

  /// Appends the `Date` line of now to what is about to be sent.
  func appendDate(on reactor: isolated Reactor) {
    if reactor.now.since(dateCheckedAt) >= .milliseconds(100) || dateBytes.count == 0 {
      dateCheckedAt = reactor.now
      dateBytes.count = 0
      dateBytes.append(dateLine)
    }
    sending.append(dateBytes.readable)
  }

  /// Appends what the limiter has said of the request to what is about to be sent.
  func appendLimit(_ decision: RateLimiter.Decision) {
    uncounted(shared) { sending.append($0.policyLine) }
    sending.append("RateLimit: \"default\";r=")
    sending.append(decimal: decision.remaining)
    sending.append(";t=")
    sending.append(decimal: decision.resetSeconds)
    sending.append("\r\n")
  }

  // MARK: Clients

  /// At the bound those give way who have been idle for longest, a part of all at once.
  func makeRoom(on reactor: isolated Reactor) -> Bool {
    let most = shared.configuration.clientsMax
    let idle = sessions.filter { $0.maySpare(at: reactor.now) }.sorted { $0.progress.since < $1.progress.since }
    for session in idle.prefix(max(1, most / 64)) { session.giveWay(on: reactor) }
    isAwaitingRoom = isFull
    return !isFull
  }

  /// A session has nothing in progress any more, and could give way to those who wait to be let in.
  func roomCame(on reactor: isolated Reactor) {
    isAwaitingRoom = false
    listener?.resume(on: reactor)
  }

  var isFull: Bool { sessions.count >= shared.configuration.clientsMax }

  func accepted(_ fd: CInt, from peer: SocketAddress, on reactor: isolated Reactor) {
    let session = HTTP1Session(proxy: self, fd: fd, peer: peer, at: reactor.now)
    do {
      try session.open(on: reactor)
    } catch {
      close(fd)
      return
    }
    session.position = UInt32(sessions.count)
    sessions.append(session)
    shared.metrics.clients.add(1)
  }

  func acceptingPaused(_ error: SystemError, on reactor: isolated Reactor) {
    shared.log.warning("accepting connections rests for a moment", [("reason", "\(error)")])
  }

  func closed(_ session: HTTP1Session, on reactor: isolated Reactor) {
    let last = sessions.removeLast()
    if last !== session {
      sessions[Int(session.position)] = last
      last.position = session.position
    }
    shared.metrics.clients.add(-1)
    freed += 1
    listener?.resume(on: reactor)
    if isDraining, sessions.isEmpty { drained.end() }
  }

  /// Bytes for a request; given back with `takeBack`.
  func lendRequest() -> RequestBytes {
    lentOut += 1
    guard let request = lent.popLast() else { return RequestBytes() }
    lentLeast = min(lentLeast, lent.count)
    return request
  }

  /// Whether a session may keep its request's bytes for the next request. Few may: what ten thousand connections held
  /// for a moment would stay with the process.
  var mayKeepRequest: Bool { lentOut <= BalancerLimits.requestsKeptMax }

  func takeBack(_ request: RequestBytes) {
    lentOut -= 1
    request.reset()
    if lent.count < BalancerLimits.requestsKeptMax { lent.append(request) } else { freed += 1 }
  }

  /// What was not needed since the last sweep is not kept.
  private func dropSpareRequests() {
    lent.removeLast(lentLeast)
    freed += lentLeast
    lentLeast = lent.count
  }

  /// What a crowd has freed stays with malloc, between what others hold, long after the crowd has left.
  private func giveBackMemory() {
    guard freed >= BalancerLimits.freedMax && mayKeepRequest || held.hasGivenBackMuch else { return }
    freed = 0
    held.gaveBackMemory()
    clinux_give_back_memory()
  }

  // MARK: Backends

  /// Where `session` waits if it has to.
  func line(of session: HTTP1Session) -> WaitingLine {
    session.head.destination == .anyBackend ? waiting : waitingForKeys
  }

  /// Whether somebody waits for a backend.
  private var isAwaited: Bool { waiting.count + waitingForKeys.count > 0 }

  private func serveLines(on reactor: isolated Reactor) {
    waiting.serve(on: reactor)
    waitingForKeys.serve(on: reactor)
  }

  /// Lets `session` wait for a backend.
  func wait(_ session: HTTP1Session, on reactor: isolated Reactor) {
    line(of: session).append(session)
    if !lineTimer.isArmed { reactor.arm(lineTimer, after: BalancerLimits.waitingRetry) }
  }

  /// There may be room: whoever waits is served before the loop sleeps.
  func serveLine(on reactor: isolated Reactor) {
    guard isAwaited, !servesLine else { return }
    servesLine = true
    reactor.flushBeforeSleep(self)
  }

  /// More is held than may be held: some sessions are parted with before the loop sleeps.
  func shedSoon(on reactor: isolated Reactor) {
    guard !sheds else { return }
    sheds = true
    reactor.flushBeforeSleep(self)
  }

  override func flush(on reactor: isolated Reactor) {
    if sheds {
      sheds = false
      held.shed(sessions, on: reactor)
    }
    if servesLine {
      servesLine = false
      serveLines(on: reactor)
    }
  }

  override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    if timer === lineTimer {
      serveLines(on: reactor)
      if isAwaited { reactor.arm(lineTimer, after: BalancerLimits.waitingRetry) }
    } else {
      upstreams.sweep(on: reactor)
      freed += upstreams.takeClosed()
      for session in sessions { session.releaseIfQuiet(on: reactor) }
      if keyRoute != nil { for session in sessions { session.leaveFailing(on: reactor) } }
      dropSpareRequests()
      giveBackMemory()
      reactor.arm(sweepTimer, after: BalancerLimits.sweep)
    }
  }

  // MARK: Orders

  /// Follows orders until the one to drain is carried out.
  func follow(_ mail: ReactorMail, on reactor: isolated Reactor) async {
    for await order in mail.orders {
      switch order {
      case .backends(let set):
        backends = set
        keyServers = KeyServers(set, partitions: shared.configuration.partitions)
        upstreams.retain(set, on: reactor)
        serveLines(on: reactor)
      case .drain(let span): return await drain(until: reactor.now + span, on: reactor)
      }
    }
  }

  /// Takes what the kernel has accepted already, stops listening, closes what is idle, and returns when the requests in
  /// progress have ended or `deadline` has passed.
  private func drain(until deadline: MonotonicTime, on reactor: isolated Reactor) async {
    // Whoever comes in last is not sent away before its request has come, too.
    await listener?.closeAfterLast(on: reactor)
    isDraining = true
    listener = nil
    for session in sessions { session.announceDrain(on: reactor) }
    let grace = min(deadline, reactor.now + BalancerLimits.drainGrace)
    if !sessions.isEmpty { await drained.wait(until: grace, on: reactor) }
    for session in sessions { session.drain(on: reactor) }
    if !sessions.isEmpty { await drained.wait(until: deadline, on: reactor) }
    for session in sessions { session.cut(on: reactor) }
    upstreams.closeAll(on: reactor)
    reactor.cancel(sweepTimer)
    reactor.cancel(lineTimer)
  }
}
