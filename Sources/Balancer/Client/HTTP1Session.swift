import Backends
import Balancing
import Basics
import Exchange
import Glibc
import HTTP
import HTTPSyntax
import Reactor
import Telemetry

/// One client's HTTP/1.1 connection: a `Pump`, an `Exchange` that says what to do, and the runner that does it.
///
/// Three things bring it to life: an event of its own socket, one of the link that carries its request, and its timer.
/// Each becomes an input of the exchange; the step that comes back is performed, and what comes of that is the next
/// input. Then `drive` reads whatever the exchange wants, for a bounded number of turns.
///
/// What it reads goes through memory that the whole reactor shares; only a partial head, pipelined requests and what
/// the client does not take yet are kept in buffers of its own, which are given back while it is idle.
///
/// Its variables stand in an order that leaves few gaps between them: there are as many of it as connections. What
/// every request passes through is handed the `ProxyReactor` as a parameter, whose constants then need no retaining.
final class HTTP1Session: EventHandler {
  /// Whether the next link of the request in progress must be a fresh one.
  var wantsFreshLink = false
  /// How far the head was parsed that has come in part.
  var partial = PartialHead()
  /// Where it stands in the reactor's list.
  var position: UInt32 = 0
  let proxy: ProxyReactor
  /// What its requests are counted by.
  let key: ClientKey
  /// The peer's address in text, as it stands in `X-Forwarded-For`.
  let peer: PeerText

  var exchange = Exchange()
  var pump: Pump
  var progress: ExchangeProgress
  /// A partial head or pipelined requests.
  var input = ByteBuffer()
  private lazy var timer = ReactorTimer(self)
  /// When the timer fires. It is touched only for something earlier: what is awaited moves on with every event.
  private var firesAt = MonotonicTime.never

  // The request in progress.
  var head = RequestNotes()
  /// What the limiter said of it; nothing while the limiter is off.
  var decision: RateLimiter.Decision?
  /// Its body on the way in.
  var body = BodyRelay(.none)
  /// Its bytes on the way to a backend.
  var request: RequestBytes?
  var id = ForwardedID()
  /// What it holds that somebody does not take, as it was last counted.
  private var counted: UInt32 = 0
  /// The backend that has it, until the account is settled.
  var chosen: BackendEntry?
  var link: HTTP1Link?
  /// Backends that it was sent to in vain, a bit each.
  var tried: UInt64 = 0
  /// A request for the balancer itself, and what it answers.
  var local: LocalRequest?

  init(proxy: ProxyReactor, fd: CInt, peer: SocketAddress, at now: MonotonicTime) {
    self.proxy = proxy
    self.peer = PeerText(peer.host)
    key = ClientKey(of: peer)
    pump = Pump(adopting: fd)
    progress = ExchangeProgress()
    progress.since = now
  }

  /// Begins to listen to the client.
  /// - Throws: `SystemError` if the kernel refuses; the descriptor is still open.
  func open(on reactor: isolated Reactor) throws(SystemError) {
    try pump.attach(self, on: reactor)
    expect(on: reactor)
  }

  // MARK: What brings it to life

  override func ready(_ events: ReadyEvents, on reactor: isolated Reactor) {
    guard !pump.isClosed else { return }
    let hasRoom = pump.noted(events)
    // Both directions are gone: whatever is in progress is for nobody. Between requests what has come is still read,
    // and behind the last answer what has come is read so that closing does not turn into a reset.
    let isGone = events.contains(.error) || events.contains(.hangup) && exchange.phase != .lingering || hasGivenUp
    if isGone, exchange.phase != .awaitingHead {
      run(exchange.clientLeft(), on: reactor)
      return settle(on: reactor)
    }
    if hasRoom { flushOutput(on: reactor) }
    drive(on: reactor)
  }

  /// Whether the client has ended its side before its request was whole. While the backend does not take the request,
  /// nothing is read, and the end stands behind what is unread.
  private var hasGivenUp: Bool {
    pump.peerHasClosed && exchange.readsNothingOfRequest
      && input.count + pump.unreadBytes < body.missingBytes
  }

  /// Something has happened on the link.
  func linkReady(hasRoom: Bool, on reactor: isolated Reactor) {
    if hasRoom { run(.forward, on: reactor) }
    drive(on: reactor)
  }

  /// The attempt to connect has ended, with the kernel's error if `code` is not 0.
  func linkConnected(_ code: CInt, on reactor: isolated Reactor) {
    progress.since = reactor.now
    progress.pace = Pace(from: reactor.now)
    run(code == 0 ? exchange.connected() : exchange.connectFailed(), on: reactor)
    drive(on: reactor)
  }

  /// A backend may have room for it now.
  func turnCame(on reactor: isolated Reactor) {
    guard exchange.phase == .waiting else { return }
    proxy.line(of: self).left()
    tried = 0
    run(exchange.turnCame(), on: reactor)
    drive(on: reactor)
  }

  /// The balancer's own answer is at hand.
  func answered(_ request: LocalRequest, with answer: LocalAnswer, on reactor: isolated Reactor) {
    guard exchange.phase == .local, local === request else { return }
    request.answer = answer
    run(exchange.localAnswered(), on: reactor)
    drive(on: reactor)
  }

  override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    firesAt = .never
    guard isOverdue(on: reactor) else { return expect(on: reactor) }
    if clientHasTaken(on: reactor) {
      // So there is room, though the kernel will not tell for long.
      flushOutput(on: reactor)
      return drive(on: reactor)
    }
    if exchange.phase == .awaitingHead, !progress.hasPartialHead {
      // A last look: to close while a request lies unread would be a reset, and its sender could not know its fate.
      pump.lookAgain()
      drive(on: reactor)
      guard isOverdue(on: reactor), !pump.isClosed else { return }
    }
    if exchange.phase == .awaitingHead { forgetNotes() }
    run(exchange.deadlinePassed(isHeadPartial: progress.hasPartialHead), on: reactor)
    drive(on: reactor)
  }

  /// The client takes no more for now.
  func clientBlocked(on reactor: isolated Reactor) {
    exchange.clientBlocked()
    progress.pace = Pace(from: reactor.now, untaken: pump.untakenBytes)
  }

  /// Whether a client that takes slowly has taken enough. The kernel tells of room only when a third of its buffer is
  /// empty, which for a slow client may be a long time.
  private func clientHasTaken(on reactor: isolated Reactor) -> Bool {
    exchange.isClientBlocked && progress.pace.left(pump.untakenBytes, at: reactor.now)
  }

  private func isOverdue(on reactor: isolated Reactor) -> Bool {
    exchange.deadline(progress, proxy.times) <= reactor.now
  }

  /// The balancer stops soon: the request in progress, or the next one, is the last.
  func announceDrain(on reactor: isolated Reactor) {
    run(exchange.drainOrdered(isQuiet: false), on: reactor)
  }

  /// The balancer stops: a request whose bytes have reached the kernel already is still answered.
  func drain(on reactor: isolated Reactor) {
    if exchange.phase == .awaitingHead {
      pump.lookAgain()
      drive(on: reactor)
    }
    guard !pump.isClosed else { return }
    settle(on: reactor)
  }

  /// Whether nothing of a request has come, and nothing of an answer waits to be taken.
  private var isIdle: Bool {
    exchange.phase == .awaitingHead && !progress.hasPartialHead && input.isEmpty && pump.unsentBytes == 0
  }

  /// Whether its place may be given to others: between two requests at any time, but who has just come is about to ask
  /// for something.
  func maySpare(at now: MonotonicTime) -> Bool {
    let hadRequest = progress.startedAt.nanoseconds > 0
    return isIdle && (hadRequest || now.since(progress.since) >= HTTPLimits.firstRequestAwaited)
  }

  /// Others need the place: it ends unless a request has reached the kernel already.
  func giveWay(on reactor: isolated Reactor) {
    pump.lookAgain()
    drive(on: reactor)
    guard isIdle, !pump.isClosed else { return }
    proxy.shared.metrics.gaveWay.increment()
    run(exchange.drainOrdered(isQuiet: true), on: reactor)
    settle(on: reactor)
  }

  /// Ends it at once.
  func cut(on reactor: isolated Reactor) {
    run(exchange.clientLeft(), on: reactor)
    settle(on: reactor)
  }

  // MARK: Reading

  /// Reads what the exchange wants for as long as there is something, but leaves others their turn.
  func drive(on reactor: isolated Reactor) {
    proxy.bytesThisTurn = 0
    for _ in 0..<BalancerLimits.readsPerTurn {
      if proxy.bytesThisTurn >= BalancerLimits.bytesPerTurn { break }
      if exchange.readsResponse, uncounted(link, { receiveResponse($0, proxy, on: reactor) }) == true {
        continue
      }
      if exchange.readsHead {
        guard pump.mayReceive || !input.isEmpty && !progress.hasPartialHead else { return settle(on: reactor) }
        receiveHead(proxy, on: reactor)
      } else if exchange.readsBody || exchange.dropsInput {
        guard pump.mayReceive || !input.isEmpty else { return settle(on: reactor) }
        if exchange.dropsInput { dropInput(on: reactor) } else { receiveBody(on: reactor) }
      } else {
        return settle(on: reactor)
      }
    }
    // Not done: the reactor comes back to it in its next turn.
    if exchange.readsResponse, let link, link.pump.mayReceive { link.askAgain(on: reactor) }
    let wantsInput = exchange.readsHead || exchange.readsBody || exchange.dropsInput
    if wantsInput, pump.mayReceive || !input.isEmpty { pump.comeBack(on: reactor) }
    settle(on: reactor)
  }

  /// Nothing is left to do now: answers that were held for others leave, an end that was read counts, and what is
  /// awaited gets its deadline.
  private func settle(on reactor: isolated Reactor) {
    if pump.hasUnoffered { flushOutput(on: reactor) }
    if hasEnd, !exchange.hasClientEnded, input.isEmpty || progress.hasPartialHead, !pump.isClosed {
      run(exchange.clientEnded(), on: reactor)
    }
    // A drained balancer keeps nobody who has nothing in progress.
    if proxy.isDraining, exchange.readsHead, input.isEmpty, !pump.mayReceive, !pump.isClosed {
      run(exchange.drainOrdered(isQuiet: true), on: reactor)
    }
    countMemory(on: reactor)
    if pump.isClosed {
      firesAt = .never
      return reactor.cancel(timer)
    }
    expect(on: reactor)
  }

  /// Whether the client's end is next: it was read, or, while nothing is read because a backend is waited for, it is
  /// known to stand there with nothing before it.
  private var hasEnd: Bool {
    pump.sawEnd || pump.peerHasClosed && exchange.phase == .sending && !exchange.readsBody && pump.unreadBytes == 0
  }

  // MARK: Memory

  /// What it holds that somebody does not take.
  var heldBytes: Int { Int(counted) }

  /// How long whoever has to give or take something has not done so.
  var waitsSince: MonotonicTime {
    if exchange.isClientBlocked { return progress.pace.since }
    if exchange.isRequestBlocked { return progress.since }
    // Whose request is whole and taken waits for nobody slow.
    return exchange.readsBody ? progress.pace.since : .never
  }

  func countMemory(on reactor: isolated Reactor) {
    let owned = pump.bytesOwned + input.bytesOwned + (uncounted(request) { $0.bytesOwned } ?? 0)
    let held = owned > BalancerLimits.uncountedBytes ? owned : 0
    guard held != Int(counted) else { return }
    let before = Int(counted)
    counted = UInt32(clamping: held)
    proxy.held.changed(from: before, to: Int(counted))
    if proxy.held.isExceeded { proxy.shedSoon(on: reactor) }
  }

  /// Memory is short: what the backend has been sent of the request is not kept.
  func forgetCopy(on reactor: isolated Reactor) {
    uncounted(request) { $0.forgetTaken() }
    countMemory(on: reactor)
  }

  /// Memory is short, and whoever it waits for is among the slowest.
  func shed(on reactor: isolated Reactor) {
    switch exchange.phase {
    case .awaitingHead, .lingering, .over: run(exchange.clientLeft(), on: reactor)
    default: run(exchange.bodyRefused(.outOfResources), on: reactor)
    }
    if !pump.isClosed, pump.unsentBytes > BalancerLimits.uncountedBytes { run(exchange.clientLeft(), on: reactor) }
    // What it still sends, or its next request, may be there already: no event tells of it again.
    drive(on: reactor)
  }

  private func expect(on reactor: isolated Reactor) {
    let deadline = exchange.deadline(progress, proxy.times)
    guard deadline < firesAt else { return }
    firesAt = deadline
    reactor.arm(timer, at: deadline)
  }

  /// Gives back what a busy connection keeps from one request to the next, once it has been quiet for a moment.
  func releaseIfQuiet(on reactor: isolated Reactor) {
    guard exchange.phase == .awaitingHead, reactor.now.since(progress.since) >= BalancerLimits.buffersKept else {
      return
    }
    returnRequest()
    if input.isEmpty { input.releaseIfEmpty() }
    countMemory(on: reactor)
  }

  private func flushOutput(on reactor: isolated Reactor) {
    let before = pump.unsentBytes
    switch pump.flush(on: reactor) {
    case .all:
      progress.since = reactor.now
      progress.pace = Pace(from: reactor.now)
      pump.releaseMemory()
      if before > 0 { run(exchange.clientDrained(), on: reactor) }
    case .part: if !exchange.isClientBlocked { clientBlocked(on: reactor) }
    case .failed: run(exchange.clientLeft(), on: reactor)
    }
  }
}

/// What is remembered of a request's head after its bytes are gone.
struct RequestNotes {
  /// Where it belongs on the ring.
  var ringPosition: UInt64 = 0
  /// Who is to answer it.
  var destination = Destination.anyBackend
  var method = HTTPMethod.get
  var minorVersion: UInt8 = 1
  /// Whether the client waits for `100 Continue`.
  var expectsContinue = false
}

extension ClientKey {
  /// What requests from `peer` are counted by.
  init(of peer: SocketAddress) {
    if let ipv4 = peer.ipv4 {
      self.init(ipv4: ipv4)
    } else if let ipv6 = peer.ipv6 {
      self.init(ipv6: ipv6.high, ipv6.low)
    } else {
      // Whoever comes over a Unix socket is on this machine.
      self.init(ipv4: 0x7F00_0001)
    }
  }
}
