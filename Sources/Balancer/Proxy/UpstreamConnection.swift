import Balancing
import Basics
import CLinux
import Glibc
import HTTP
import Reactor
import Telemetry

/// A connection to a backend: carries one request at a time for a client, and waits in the pool in between.
///
///     connecting ─► carrying ⇄ idle ─► closed
///
/// The bytes of a request stay in `outgoing` until its response begins, so that it can be sent again elsewhere.
final class UpstreamConnection: EventHandler {
  enum Phase {
    case connecting, carrying, idle, closed
  }

  static let readEvents: ReadyEvents = [.readable, .peerClosed, .edgeTriggered]

  let proxy: ProxyReactor
  /// The backend's index in the pool of backends.
  let backend: Int
  /// The backend itself.
  let server: Backend
  /// Where it stands in the pool of idle connections.
  var position = 0
  private(set) var idleSince = MonotonicTime(nanoseconds: 0)
  private(set) var phase: Phase
  /// Whether it has carried a request before: then the backend may be closing it at this very moment.
  private(set) var isReused = false
  /// Whether `outgoing` still holds the request from its first byte on.
  private(set) var isReplayable = true

  private var fd: CInt
  private let isUnix: Bool
  private var outgoing = ByteBuffer()
  /// How many bytes of `outgoing` the kernel has taken.
  private var sent = 0
  /// In how many pieces.
  private var sends = 0
  /// When the kernel had taken all of it that was there.
  private var sentAt = MonotonicTime(nanoseconds: 0)
  private var isWriteArmed = false
  private var peerHasClosed = false
  private(set) var mayHaveInput = false
  /// A partial head of a response.
  private var incoming = ByteBuffer()

  private(set) var client: ClientConnection?
  var response = ResponseProgress()

  /// Begins to connect to `backend`.
  /// - Throws: `SystemError` if that fails at once.
  init(proxy: ProxyReactor, backend: Int, on reactor: isolated Reactor) throws(SystemError) {
    self.proxy = proxy
    self.backend = backend
    server = proxy.shared.pool.backends[backend]
    let address = proxy.shared.addresses[backend]
    isUnix = address.isUnix
    fd = try Socket.beginConnect(to: address)
    // A Unix socket is connected at once; for TCP the socket becomes writable when the attempt has ended.
    phase = isUnix ? .carrying : .connecting
    super.init()
    do {
      // Edge-triggered, like the client's side.
      let events = UpstreamConnection.readEvents
      try reactor.register(self, fd: fd, events: isUnix ? events : events.union(.writable))
    } catch {
      Glibc.close(fd)
      throw error
    }
  }

  var isConnecting: Bool { phase == .connecting }

  /// Bytes of the request that the kernel has not taken.
  var unsentBytes: Int { outgoing.count - sent }

  // MARK: The request

  /// Takes on the request that stands ready in the shared memory, or the one that `failed` could not deliver.
  func carry(for client: ClientConnection, taking failed: UpstreamConnection?, on reactor: isolated Reactor) {
    self.client = client
    response = ResponseProgress()
    isReplayable = true
    sent = 0
    sends = 0
    sentAt = reactor.now
    if let failed {
      failed.outgoing.withReadable { outgoing.append($0) }
    } else {
      outgoing.append(proxy.sending.readable)
    }
    if phase == .idle { phase = .carrying }
    if phase == .carrying { sendOutgoing(on: reactor) }
  }

  /// Takes more of the request's body.
  func sendMore(_ bytes: UnsafeRawBufferPointer, on reactor: isolated Reactor) {
    guard phase == .carrying || phase == .connecting else { return }
    outgoing.append(bytes)
    if phase == .carrying, !isWriteArmed { sendOutgoing(on: reactor) }
  }

  /// Gives the kernel as much of the request as it takes.
  private func sendOutgoing(on reactor: isolated Reactor) {
    while sent < outgoing.count {
      let taken = outgoing.withReadable { send(fd, $0.baseAddress! + sent, $0.count - sent, CInt(MSG_NOSIGNAL)) }
      if taken >= 0 {
        sent += taken
        sends += 1
      } else if errno == EAGAIN {
        trim()
        if !isWriteArmed {
          isWriteArmed = true
          reactor.modify(fd: fd, events: UpstreamConnection.readEvents.union(.writable))
        }
        return
      } else if errno != EINTR {
        // The backend has closed. It may have answered before, so what it sent decides.
        mayHaveInput = true
        return readOn(on: reactor)
      }
    }
    sentAt = reactor.now
    trim()
    if isWriteArmed {
      isWriteArmed = false
      reactor.modify(fd: fd, events: UpstreamConnection.readEvents)
      resumeClient(on: reactor)
    }
  }

  /// There is room again for more of the request's body.
  private func resumeClient(on reactor: isolated Reactor) {
    guard phase == .carrying, unsentBytes <= BalancerLimits.unsentBytesMax, let client, !client.bodyRest.isDone else {
      return
    }
    client.readOn(on: reactor)
  }

  /// Gives up being able to repeat a request that has grown too long to be kept.
  private func trim() {
    guard !isReplayable || outgoing.count > BalancerLimits.replayBytesMax else { return }
    isReplayable = false
    outgoing.consume(sent)
    sent = 0
  }

  // MARK: Events

  override func ready(_ events: ReadyEvents, on reactor: isolated Reactor) {
    switch phase {
    case .connecting:
      let code = Socket.connectError(fd)
      if code != 0 { return fail(isSafe: true, status: 502, on: reactor) }
      guard events.contains(.writable) else { return }
      phase = .carrying
      reactor.modify(fd: fd, events: UpstreamConnection.readEvents)
      client?.upstreamConnected(on: reactor)
      sendOutgoing(on: reactor)
      // It may have stopped reading its client while there was no connection to send to.
      resumeClient(on: reactor)
    case .idle:
      // The backend has closed it, or speaks without having been asked: in both cases it is of no more use.
      proxy.upstreams.remove(self)
      close(on: reactor)
    case .carrying:
      if events.contains(.peerClosed) || events.contains(.hangup) { peerHasClosed = true }
      if events.contains(.writable), isWriteArmed { sendOutgoing(on: reactor) }
      if !events.isDisjoint(with: [.readable, .peerClosed, .hangup, .error]) {
        mayHaveInput = true
        readOn(on: reactor)
      }
    case .closed: break
    }
  }

  /// Reads what has come of the response, unless the client is too slow to take it.
  func readOn(on reactor: isolated Reactor) {
    for _ in 0..<BalancerLimits.readsPerTurn {
      guard phase == .carrying, mayHaveInput, let client, !client.isBlocked else { return }
      let scratch = proxy.received
      scratch.count = 0
      if !incoming.isEmpty {
        incoming.withReadable { scratch.append($0) }
        incoming.removeAll()
      }
      let room = scratch.capacity - scratch.count
      let got = recv(fd, scratch.base + scratch.count, room, 0)
      if got > 0 {
        scratch.count += got
        // A short read means drained, unless an end is still to be read behind the bytes.
        mayHaveInput = got == room || peerHasClosed
        responseArrived(for: client, on: reactor)
        continue
      }
      if got < 0, errno == EINTR { continue }
      let hadBytes = scratch.count > 0
      if hadBytes { incoming.append(scratch.readable) }
      mayHaveInput = false
      if got < 0, errno == EAGAIN { return }
      return ended(code: got < 0 ? errno : 0, hadBytes: hadBytes, for: client, on: reactor)
    }
    guard phase == .carrying, mayHaveInput else { return }
    // Others first: re-arming reports in the next turn what is still there.
    reactor.modify(fd: fd, events: UpstreamConnection.readEvents.union(isWriteArmed ? .writable : []))
  }

  /// How long the backend has thought so far: how fast the client sent its request is not the backend's affair.
  func latency(on reactor: isolated Reactor) -> TimeSpan { reactor.now.since(sentAt) }

  /// Keeps the beginning of a head that is not whole.
  func keep(from start: Int) {
    incoming.append(proxy.received.range(start..<proxy.received.count))
  }

  // MARK: The end

  /// The backend has ended the connection, with an error if `code` is not 0.
  private func ended(code: CInt, hadBytes: Bool, for client: ClientConnection, on reactor: isolated Reactor) {
    switch response.rest {
    case .untilClose where code == 0:
      if response.sendsChunks {
        proxy.sending.count = 0
        proxy.sending.append("0\r\n\r\n")
        client.send(proxy.sending.readable, on: reactor)
      }
      finishResponse(mayKeep: false, on: reactor)
    case .head where !hadBytes: fail(isSafe: provesUnread(code), status: 502, on: reactor)
    case .head: misbehaved(on: reactor)
    default:
      // Half a response was passed on already: only an ended connection tells the client so.
      backendFailed(on: reactor)
      client.upstream = nil
      client.close(on: reactor)
    }
  }

  /// Whether the kernel proves that the backend had closed this connection before it could read any of the request.
  ///
  /// In order: the backend's FIN acknowledges all that had reached its kernel by then. If we have its FIN and nothing
  /// of this request is acknowledged, it had closed before the request arrived.
  ///
  /// With a reset: a kernel resets when the socket is closed with something unread in its queue (RFC 1122 §4.2.2.13),
  /// and a short request that was sent in one piece lies there whole or not at all, if the backend reads so much in one
  /// go. A Unix socket knows no other reset. A TCP backend may also reset on purpose, having read (SO_LINGER 0), so
  /// there a reset counts only on a kept connection, where the backend's idle timeout explains it.
  private func provesUnread(_ code: CInt) -> Bool {
    if sent == 0 { return true }
    guard isReplayable, !response.hadInterim else { return false }
    if code == ECONNRESET { return (isUnix || isReused) && sends == 1 && sent <= BalancerLimits.wholeReadBytes }
    if isUnix { return false }
    // Without an error the FIN was read; with EPIPE it had come before the reset.
    return (code == 0 || code == EPIPE) && clinux_unsent_bytes(fd) >= CInt(clamping: sent)
  }

  /// The request was not answered at all.
  private func fail(isSafe: Bool, status: Int, on reactor: isolated Reactor) {
    let client = release(on: reactor)
    client?.upstreamFailed(self, isSafe: isSafe, status: status, on: reactor)
  }

  /// What the backend sent is no acceptable response.
  func misbehaved(on reactor: isolated Reactor) {
    let client = self.client
    backendFailed(on: reactor)
    client?.upstream = nil
    client?.answer(Problem(502, "The backend's answer is malformed."), closing: false, on: reactor)
  }

  /// The attempt to connect took too long.
  func connectTimedOut(on reactor: isolated Reactor) {
    fail(isSafe: true, status: 504, on: reactor)
  }

  /// The response took too long, or is broken in its middle.
  func backendFailed(on reactor: isolated Reactor) {
    release(on: reactor)
    server.requestFailed(at: reactor.now.nanoseconds / 1_000_000)
  }

  /// The client has gone; what the backend still says interests nobody.
  func clientLeft(on reactor: isolated Reactor) {
    guard release(on: reactor) != nil else { return }
    server.requestAbandoned()
  }

  /// The response is complete: back to the pool if both sides can go on.
  func finishResponse(mayKeep: Bool, on reactor: isolated Reactor) {
    guard let client else { return }
    let took = reactor.now.since(client.startedAt)
    server.requestAnswered(latencyUs: Int(response.latency.nanoseconds / 1000))
    let shared = proxy.shared
    shared.metrics.latency[backend].observe(took)
    shared.metrics.count(status: response.status)
    self.client = nil
    client.upstream = nil
    let isReusable =
      mayKeep && response.keepsAlive && unsentBytes == 0 && client.bodyRest.isDone && !peerHasClosed
      && !proxy.isDraining
    outgoing.removeAll()
    if outgoing.bytesOwned > BalancerLimits.wholeReadBytes { outgoing.releaseIfEmpty() }
    sent = 0
    if isReusable, proxy.upstreams.keep(self) {
      phase = .idle
      isReused = true
      idleSince = reactor.now
    } else {
      close(on: reactor)
    }
    client.answered(on: reactor)
  }

  /// Closes and lets go of the client, who is returned.
  @discardableResult
  private func release(on reactor: isolated Reactor) -> ClientConnection? {
    let client = self.client
    self.client = nil
    close(on: reactor)
    return client
  }

  func close(on reactor: isolated Reactor) {
    guard phase != .closed else { return }
    phase = .closed
    reactor.deregister(fd: fd)
    Glibc.close(fd)
    fd = -1
  }
}
