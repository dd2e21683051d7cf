import Backends
import Balancing
import Basics
import CLinux
import Exchange
import Glibc
import HTTPSyntax
import Reactor

/// A connection to a backend: carries one request at a time for a session, and waits in the pool in between. It moves
/// bytes and tells what came of it; what that means is the exchange's to say.
final class HTTP1Link: EventHandler {
  /// What the response has come to.
  enum Reading {
    case head
    case body(BodyRelay)
  }

  let entry: BackendEntry
  private let proxy: ProxyReactor
  private(set) var pump: Pump
  /// Whose request it carries; nobody's while it is idle.
  private(set) var session: HTTP1Session?
  /// Whether the connection is still being made.
  private(set) var isConnecting: Bool
  /// Whether it has carried a request before: then the backend may be closing it at this very moment.
  private(set) var isReused = false
  /// Where it stands in the pool.
  var position = 0
  private(set) var idleSince = MonotonicTime(nanoseconds: 0)

  // The request in progress.
  var reading = Reading.head
  /// A partial head of the response, and how far it was parsed.
  private var incoming = ByteBuffer()
  private var partial = PartialHead()
  /// Bytes of the request that the kernel has taken, and in how many pieces.
  private var sentBytes = 0
  private var sends = 0
  /// When it had taken all of them that were there.
  private(set) var sentAt = MonotonicTime(nanoseconds: 0)
  private var hadResponse = false
  /// The response's status, and how long after the request's last byte its head came.
  private(set) var status = 0
  private(set) var latency = TimeSpan(nanoseconds: 0)
  /// Whether its writing side ends when the request has left, and whether it has ended.
  private var endsWriting = false
  private var hasEndedWriting = false
  /// Why nothing more can be sent, 0 while it can: the backend has closed, but may have answered before.
  private var sendFailure: CInt = 0

  /// Begins to connect to a backend.
  /// - Throws: `SystemError` if that fails at once.
  init(_ entry: BackendEntry, proxy: ProxyReactor, on reactor: isolated Reactor) throws(SystemError) {
    self.entry = entry
    self.proxy = proxy
    let fd = try Socket.beginConnect(to: entry.address)
    pump = Pump(adopting: fd)
    // A Unix socket is connected at once.
    isConnecting = !entry.address.isUnix
    super.init()
    do {
      try pump.attach(self, isConnecting: isConnecting, on: reactor)
    } catch {
      Glibc.close(fd)
      throw error
    }
    proxy.upstreams.began()
  }

  /// Takes on a request of `session`.
  func begin(for session: HTTP1Session, on reactor: isolated Reactor) {
    self.session = session
    goesFirst = false
    reading = .head
    sentBytes = 0
    sends = 0
    sentAt = reactor.now
    hadResponse = false
  }

  /// Gives the kernel what waits of the request.
  /// - Returns: whether it has taken some of it.
  func forward(_ request: RequestBytes, on reactor: isolated Reactor) -> Bool {
    guard sendFailure == 0 else { return false }
    let before = request.unsentCount
    let sent = request.send { bytes, taken in pump.offer(bytes, taken: &taken, on: reactor) }
    let amount = before - request.unsentCount
    sentBytes += amount
    if amount > 0 { sends += 1 }
    switch sent {
    case .all:
      if amount > 0 { sentAt = reactor.now }
      if endsWriting { endWriting(behind: request) }
    case .part: break
    case .failed(let code):
      sendFailure = code
      pump.lookAgain()
    }
    return amount > 0
  }

  /// Ends the writing side behind `request`, of which nothing more will come, if the backend is known to take that for
  /// a wish to be answered soon: others may take it for the end of everything.
  func endWriting(behind request: RequestBytes) {
    guard entry.vouchesForResets, sendFailure == 0, !hasEndedWriting else { return }
    endsWriting = true
    guard request.unsentCount == 0 else { return }
    hasEndedWriting = true
    pump.shutdownWriting()
  }

  /// The head of the final response has come.
  func answered(with status: Int, at now: MonotonicTime) {
    self.status = status
    latency = now.since(sentAt)
  }

  /// What has come of the response.
  enum Received {
    case bytes
    case nothing
    /// The connection has ended, with the kernel's error if `code` is not 0.
    case ended(code: CInt)
  }

  /// Reads what has come behind what was kept into `scratch`, the reactor's memory; nothing if it is a part of a head
  /// that is not worth parsing again.
  func receive(into scratch: ByteScratch, on reactor: isolated Reactor) -> Received {
    scratch.count = 0
    let kept = incoming.count
    if !incoming.isEmpty {
      incoming.withReadable { scratch.append($0) }
      incoming.removeAll()
    }
    let room = min(scratch.capacity - scratch.count, proxy.held.readBytesMax)
    switch pump.receive(into: UnsafeMutableRawBufferPointer(rebasing: scratch.free[..<room]), on: reactor) {
    case .bytes(let count):
      scratch.count += count
      hadResponse = true
      guard kept > 0, !partial.isWorthParsing(scratch.range(kept..<scratch.count), of: scratch.count) else {
        return .bytes
      }
      incoming.append(scratch.readable)
      return .nothing
    case .nothing:
      if sendFailure != 0 { return .ended(code: sendFailure) }
      if scratch.count > 0 { incoming.append(scratch.readable) }
      return .nothing
    case .end: return .ended(code: sendFailure)
    case .failed(let code): return .ended(code: code)
    }
  }

  /// Keeps what `scratch` holds from `start` on: the beginning of a head.
  func keep(_ scratch: ByteScratch, from start: Int) {
    incoming.append(scratch.range(start..<scratch.count))
    partial.parsedInVain(scratch.count - start)
  }

  /// What the kernel proves about the request after the connection has ended with `code`.
  ///
  /// In order: the backend's FIN acknowledges all that had reached its kernel by then. If we have its FIN and nothing
  /// of this request is acknowledged, it had closed before the request arrived.
  ///
  /// With a reset: a kernel resets when a socket is closed with something unread in its queue (RFC 1122 §4.2.2.13), and
  /// a short request that was sent in one piece lies there whole or not at all, if the backend reads so much in one go.
  /// A Unix socket knows no other reset. A TCP backend may also reset on purpose, having read (SO_LINGER 0), so over
  /// TCP a reset proves nothing unless somebody vouches for the backend.
  func delivery(code: CInt) -> Delivery {
    if sentBytes == 0 { return .nothingSent }
    if hadResponse { return .unknown }
    if code == ECONNRESET {
      let isWhole = sends == 1 && sentBytes <= BalancerLimits.wholeReadBytes
      return entry.vouchesForResets && isWhole && (entry.address.isUnix || isReused) ? .resetWhole : .unknown
    }
    if entry.address.isUnix { return .unknown }
    // Without an error the FIN was read; with EPIPE it had come before the reset.
    let isUnacknowledged = (code == 0 || code == EPIPE) && clinux_unsent_bytes(pump.fd) >= CInt(clamping: sentBytes)
    return isUnacknowledged ? .unacknowledged : .unknown
  }

  /// Whether another request may follow on this connection.
  var isClean: Bool { !pump.mayReceive && !pump.peerHasClosed && sendFailure == 0 }

  /// It waits in the pool from now on.
  func rest(on reactor: isolated Reactor) {
    session = nil
    incoming.releaseIfEmpty()
    isReused = true
    goesFirst = true
    idleSince = reactor.now
  }

  // MARK: Events

  override func ready(_ events: ReadyEvents, on reactor: isolated Reactor) {
    guard !pump.isClosed else { return }
    let hasRoom = pump.noted(events)
    // A session is registered with the reactor for as long as it has a link.
    let isCarrying: Void? = uncounted(session) { session in
      guard isConnecting else { return session.linkReady(hasRoom: hasRoom, on: reactor) }
      let code = Socket.connectError(pump.fd)
      if code == 0, !events.contains(.writable) { return }
      isConnecting = false
      session.linkConnected(code, on: reactor)
    }
    if isCarrying == nil { proxy.upstreams.spoke(self, on: reactor) }
  }

  /// Gives the rest of its turn to others.
  func askAgain(on reactor: isolated Reactor) {
    pump.askAgain(on: reactor)
  }

  func close(on reactor: isolated Reactor) {
    session = nil
    if !pump.isClosed { proxy.upstreams.closed() }
    pump.close(on: reactor)
  }
}
