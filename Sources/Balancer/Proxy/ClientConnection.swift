import Balancing
import Basics
import CLinux
import Glibc
import HTTP
import HTTPSyntax
import Reactor
import Telemetry

/// One client's connection: a state machine that reads a request, has it carried to a backend by an
/// `UpstreamConnection` (or answered by the balancer itself), and writes the answer.
///
///     awaitingHead ─► carrying ─► awaitingHead …      one request after the other, answers in order
///          │             │
///          ├─► local ────┤        the balancer's own endpoints
///          └─────────────┴─► closing ─► closed
///
/// What it reads goes through memory that the whole reactor shares; only a partial head, pipelined requests and what
/// the client does not take yet are kept in buffers of its own, which are given back while it is idle.
final class ClientConnection: EventHandler {
  enum Phase: UInt8 {
    /// Between requests, or within a head.
    case awaitingHead
    /// A request is with a backend.
    case carrying
    /// A request is answered by the balancer itself.
    case local
    /// The last answer is on its way; what the client still sends is dropped.
    case closing
    case closed
  }

  /// How much of the request's body is still to be read.
  enum BodyRest {
    case done
    case length(Int)
    case chunked(ChunkedDecoder)

    var isDone: Bool {
      if case .done = self { return true }
      return false
    }
  }

  static let readEvents: ReadyEvents = [.readable, .peerClosed, .edgeTriggered]

  let proxy: ProxyReactor
  private(set) var fd: CInt
  let key: ClientKey
  /// The peer's address in text, as it stands in `X-Forwarded-For`.
  let peer: [UInt8]
  /// Where it stands in the proxy's list.
  var position = 0

  private(set) var phase = Phase.awaitingHead
  /// A partial head or pipelined requests.
  var input = ByteBuffer()
  /// What the kernel did not take yet.
  private var output = ByteBuffer()
  var mayHaveInput = true
  private var peerHasClosed = false
  private(set) var sawEnd = false
  private var isWriteArmed = false
  /// Whether it stopped in the middle of its input, for others to have their turn.
  private var hasYielded = false
  private var isReceiving = false
  private var hasPartialHead = false
  private var bytesDropped = 0
  private lazy var timer = ReactorTimer(self)

  // The request in progress.
  var method = HTTPMethod.get
  var minorVersion = 1
  var keepsAlive = true
  var bodyRest = BodyRest.done
  /// Bytes of the body's stream that have come.
  var bodyBytes = 0
  var id = ForwardedID()
  var startedAt = MonotonicTime(nanoseconds: 0)
  var attempts = 0
  /// Whether any byte of the response was sent.
  var hasResponse = false
  /// What the limiter said of it; nothing while the limiter is off.
  var decision: RateLimiter.Decision?
  var ringPosition: UInt64 = 0
  var upstream: UpstreamConnection?
  var local: LocalRequest?

  init(proxy: ProxyReactor, fd: CInt, peer: SocketAddress) {
    self.proxy = proxy
    self.fd = fd
    self.peer = Array(peer.host.utf8)
    key = ClientConnection.key(of: peer)
  }

  /// What requests from `peer` are counted by.
  static func key(of peer: SocketAddress) -> ClientKey {
    if let ipv4 = peer.ipv4 { return ClientKey(ipv4: ipv4) }
    if let ipv6 = peer.ipv6 { return ClientKey(ipv6: ipv6.high, ipv6.low) }
    // Whoever comes over a Unix socket is on this machine.
    return ClientKey(ipv4: 0x7F00_0001)
  }

  /// Whether the client takes what is sent; if not, backends are not read for it.
  var isBlocked: Bool { !output.isEmpty }

  func opened(on reactor: isolated Reactor) {
    reactor.arm(timer, after: BalancerLimits.clientIdle)
  }

  // MARK: Events

  override func ready(_ events: ReadyEvents, on reactor: isolated Reactor) {
    if events.contains(.error) || events.contains(.hangup), phase != .awaitingHead {
      return close(on: reactor)
    }
    if !events.isDisjoint(with: [.readable, .peerClosed, .hangup, .error]) { mayHaveInput = true }
    if events.contains(.peerClosed) { peerHasClosed = true }
    if hasYielded {
      hasYielded = false
      if !isWriteArmed {
        reactor.modify(fd: fd, events: ClientConnection.readEvents)
        return readOn(on: reactor)
      }
    }
    if events.contains(.writable), isWriteArmed { flushOutput(on: reactor) }
    guard phase != .closed, mayHaveInput else { return }
    readOn(on: reactor)
  }

  /// Reads whatever this phase has use for.
  func readOn(on reactor: isolated Reactor) {
    switch phase {
    case .awaitingHead: receiveHeads(on: reactor)
    case .carrying, .local: if !bodyRest.isDone { receiveBody(on: reactor) }
    case .closing: dropInput(on: reactor)
    case .closed: break
    }
  }

  override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    switch phase {
    case .awaitingHead where hasPartialHead:
      forgetRequest()
      answer(Problem(408, "The head of the request took too long."), closing: true, on: reactor)
    case .awaitingHead, .closing, .closed: close(on: reactor)
    case .carrying, .local: requestTimedOut(on: reactor)
    }
  }

  /// Expects something to happen within `span`, or `timerFired` decides what then.
  func expectProgress(within span: TimeSpan, on reactor: isolated Reactor) {
    reactor.arm(timer, after: span)
  }

  // MARK: Reading

  /// Expects the rest of the body at no less than the slowest rate, or the response if there is no rest.
  func expectBodyOrResponse(on reactor: isolated Reactor) {
    if bodyRest.isDone { return reactor.arm(timer, after: BalancerLimits.response) }
    let allowance = TimeSpan.seconds(UInt64(bodyBytes / BalancerLimits.bodyBytesPerSecondMin))
    reactor.arm(timer, at: startedAt + BalancerLimits.bodyGrace + allowance)
  }

  /// Fills the shared memory with what was kept and what the kernel has; how many bytes there are.
  func gather(on reactor: isolated Reactor) -> Int {
    precondition(phase != .closed, "a closed connection is read")
    let scratch = proxy.received
    scratch.count = 0
    if !input.isEmpty {
      input.withReadable { scratch.append($0) }
      input.removeAll()
    }
    while mayHaveInput, scratch.count < scratch.capacity {
      let room = scratch.capacity - scratch.count
      let got = recv(fd, scratch.base + scratch.count, room, 0)
      if got > 0 {
        scratch.count += got
        // A short read means drained, unless an end is still to be read behind the bytes.
        if got < room && !peerHasClosed { mayHaveInput = false }
        return scratch.count
      }
      mayHaveInput = false
      if got == 0 {
        sawEnd = true
      } else if errno == EINTR {
        mayHaveInput = true
      } else if errno != EAGAIN {
        sawEnd = true
        keepsAlive = false
      }
    }
    return scratch.count
  }

  /// Keeps the bytes of the shared memory from `start` on for later.
  func keep(from start: Int) {
    let scratch = proxy.received
    if start < scratch.count { input.append(scratch.range(start..<scratch.count)) }
  }

  /// Reads requests one after the other for as long as they are answered at once. A partial head is kept and parsed
  /// anew with what comes next: the parser's state is shared by all connections, and a head has at most 16 KiB and 10
  /// s.
  private func receiveHeads(on reactor: isolated Reactor) {
    guard !isReceiving else { return }
    isReceiving = true
    defer { isReceiving = false }
    var requests = 0
    while phase == .awaitingHead, !isBlocked, mayHaveInput || !input.isEmpty {
      if requests == BalancerLimits.requestsPerTurn {
        hasYielded = true
        return reactor.modify(fd: fd, events: ClientConnection.readEvents.union(.writable))
      }
      requests += 1
      let count = gather(on: reactor)
      if count == 0 { break }
      proxy.requestHead.reset()
      switch proxy.received.span({ proxy.requestHead.parse($0) }) {
      case .complete(let bytes):
        hasPartialHead = false
        requestArrived(headBytes: bytes, on: reactor)
      case .incomplete:
        keep(from: 0)
        if !hasPartialHead {
          hasPartialHead = true
          reactor.arm(timer, after: BalancerLimits.head)
        }
        if !mayHaveInput {
          if sawEnd { close(on: reactor) }
          return
        }
      case .malformed(let error):
        proxy.shared.metrics.refused.increment()
        forgetRequest()
        answer(Problem(error.status, "The request was refused: \(error.explanation)."), closing: true, on: reactor)
      }
    }
    if phase == .awaitingHead, sawEnd, !isBlocked, input.isEmpty { close(on: reactor) }
  }

  /// There is no request, or none that could be read: an answer must not go by the one before.
  private func forgetRequest() {
    method = .get
    minorVersion = 1
    bodyRest = .done
    decision = nil
    id.make(&proxy.random)
  }

  private func dropInput(on reactor: isolated Reactor) {
    while phase == .closing, mayHaveInput {
      input.removeAll()
      bytesDropped += gather(on: reactor)
      if sawEnd || bytesDropped > BalancerLimits.lingerBytesMax { return close(on: reactor) }
    }
  }

  // MARK: Writing

  /// Sends the bytes, or keeps what the kernel does not take.
  func send(_ bytes: UnsafeRawBufferPointer, on reactor: isolated Reactor) {
    guard phase != .closed else { return }
    var sent = 0
    if output.isEmpty {
      while sent < bytes.count {
        let taken = Glibc.send(fd, bytes.baseAddress! + sent, bytes.count - sent, CInt(MSG_NOSIGNAL))
        if taken >= 0 {
          sent += taken
        } else if errno != EINTR {
          break
        }
      }
      if sent == bytes.count { return }
      if errno != EAGAIN { return close(on: reactor) }
    }
    output.append(UnsafeRawBufferPointer(rebasing: bytes[sent...]))
    if !isWriteArmed {
      isWriteArmed = true
      rearm(on: reactor)
    }
  }

  private func flushOutput(on reactor: isolated Reactor) {
    while !output.isEmpty {
      let taken = output.withReadable { Glibc.send(fd, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL)) }
      if taken > 0 {
        output.consume(taken)
        expectProgress(within: BalancerLimits.response, on: reactor)
      } else if errno == EAGAIN {
        return
      } else if errno != EINTR {
        return close(on: reactor)
      }
    }
    output.releaseIfEmpty()
    isWriteArmed = false
    rearm(on: reactor)
    switch phase {
    case .awaitingHead:
      receiveHeads(on: reactor)
      if proxy.isDraining { closeIfQuiet(on: reactor) }
    case .carrying: upstream?.readOn(on: reactor)
    case .closing: finishSending(on: reactor)
    case .local, .closed: break
    }
  }

  /// Asks again for the events that are waited for; edges that have passed are reported once more.
  func rearm(on reactor: isolated Reactor) {
    let events = ClientConnection.readEvents
    reactor.modify(fd: fd, events: isWriteArmed ? events.union(.writable) : events)
  }

  // MARK: The end of a request

  /// The whole answer was handed over: goes on with the next request, or ends.
  func answered(on reactor: isolated Reactor) {
    guard phase != .closed else { return }
    upstream = nil
    local = nil
    hasResponse = false
    if !keepsAlive || !bodyRest.isDone || proxy.isDraining {
      phase = .closing
      return finishSending(on: reactor)
    }
    phase = .awaitingHead
    if input.isEmpty { input.releaseIfEmpty() }
    reactor.arm(timer, after: BalancerLimits.clientIdle)
    if mayHaveInput || !input.isEmpty || sawEnd { receiveHeads(on: reactor) }
  }

  /// Once the kernel has all: tells the client that this was all, and waits for its own end, lest unread bytes turn the
  /// close into a reset that destroys the answer.
  private func finishSending(on reactor: isolated Reactor) {
    reactor.arm(timer, after: isBlocked ? BalancerLimits.response : BalancerLimits.linger)
    guard !isBlocked else { return }
    if sawEnd { return close(on: reactor) }
    shutdown(fd, CInt(SHUT_WR))
    dropInput(on: reactor)
  }

  func begin(_ phase: Phase) {
    precondition(self.phase != .closed, "a closed connection goes on")
    self.phase = phase
  }

  /// Closes if idle; a request in progress, or one that has reached the kernel already, is the last one.
  func drain(on reactor: isolated Reactor) {
    keepsAlive = false
    guard phase == .awaitingHead, !isBlocked else { return }
    mayHaveInput = true
    receiveHeads(on: reactor)
    closeIfQuiet(on: reactor)
  }

  private func closeIfQuiet(on reactor: isolated Reactor) {
    if phase == .awaitingHead, !hasPartialHead, input.isEmpty, !mayHaveInput { close(on: reactor) }
  }

  /// Ends the connection at once, and with it the request.
  func close(on reactor: isolated Reactor) {
    guard phase != .closed else { return }
    phase = .closed
    reactor.cancel(timer)
    reactor.deregister(fd: fd)
    Glibc.close(fd)
    fd = -1
    if let upstream {
      self.upstream = nil
      upstream.clientLeft(on: reactor)
    }
    local = nil
    proxy.closed(self, on: reactor)
  }
}
