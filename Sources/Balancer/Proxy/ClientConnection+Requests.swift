import Balancing
import Basics
import Glibc
import HTTP
import HTTPSyntax
import Reactor
import Telemetry

/// From a parsed head to a backend: limit, choice, rewriting, retries.
extension ClientConnection {
  /// A whole head stands at the beginning of the shared memory.
  func requestArrived(headBytes: Int, on reactor: isolated Reactor) {
    let head = proxy.requestHead
    method = head.method
    minorVersion = head.minorVersion
    keepsAlive = head.keepsAlive && !proxy.isDraining
    startedAt = reactor.now
    attempts = 0
    bodyBytes = 0
    decision = nil
    nameRequest(head)
    bodyRest =
      switch head.framing {
      case .length(let length): .length(length)
      case .chunked: .chunked(ChunkedDecoder())
      case .none, .untilClose: .done
      }
    if LocalRequest.isLocal(path: proxy.received.range(head.path), proxy.shared) {
      return localArrived(headBytes: headBytes, on: reactor)
    }
    let shared = proxy.shared
    if shared.limiter.isOn {
      let decision = shared.limiter.admit(key, at: reactor.now.nanoseconds / 1_000_000)
      self.decision = decision
      if !decision.isAllowed {
        shared.metrics.limited.increment()
        proxy.sending.count = 0
        if let next = takeBody(from: headBytes) { keep(from: next) } else { keepsAlive = false }
        return answerLimited(decision, on: reactor)
      }
    }
    if shared.strategy == .consistentHash { ringPosition = hash(proxy.received.range(head.path)) }
    proxy.sending.count = 0
    HeadRewriting.writeRequest(head, from: proxy.received.base, peer: peer, id: id, to: proxy.sending)
    let invites = head.expectsContinue && headBytes == proxy.received.count
    guard let next = takeBody(from: headBytes) else { return bodyMalformed(on: reactor) }
    keep(from: next)
    begin(.carrying)
    if invites, !bodyRest.isDone {
      inviteBody(on: reactor)
      // Whoever had reset the connection behind the head is noticed here.
      guard phase == .carrying else { return }
    }
    shared.retries.requestStarted()
    dispatch(avoiding: -1, taking: nil, on: reactor)
    if case .carrying = phase, !bodyRest.isDone, mayHaveInput || !input.isEmpty { receiveBody(on: reactor) }
  }

  private func nameRequest(_ head: RequestHead) {
    if let given = head.value(of: .xRequestID) {
      let bytes = proxy.received.range(given)
      if RequestID.isAcceptable(bytes.bindMemory(to: UInt8.self).span) { return id.take(bytes) }
    }
    id.make(&proxy.random)
  }

  private func inviteBody(on reactor: isolated Reactor) {
    let invitation: StaticString = "HTTP/1.1 100 Continue\r\n\r\n"
    send(UnsafeRawBufferPointer(start: invitation.utf8Start, count: invitation.utf8CodeUnitCount), on: reactor)
  }

  /// Spreads keys over the ring (FNV-1a and the finisher of SplitMix64); only the ring's own places need SHA-256.
  private func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    var z: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in bytes { z = (z ^ UInt64(byte)) &* 0x100_0000_01B3 }
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  // MARK: Bodies

  /// Moves what the shared memory holds of the body from `start` on to what is about to be sent, or to a local request;
  /// where the next request begins, nil if the body was malformed and the request has ended.
  func takeBody(from start: Int) -> Int? {
    let scratch = proxy.received
    switch bodyRest {
    case .done: return start
    case .length(let rest):
      let amount = min(rest, scratch.count - start)
      take(start..<start + amount, isChunk: false)
      bodyRest = rest == amount ? .done : .length(rest - amount)
      return start + amount
    case .chunked(var decoder):
      var position = start
      while true {
        switch scratch.span({ decoder.next($0, from: position) }) {
        case .data(let range):
          take(range, isChunk: true)
          position = range.upperBound
        case .incomplete:
          bodyRest = .chunked(decoder)
          return scratch.count
        case .complete(let next):
          if local == nil { proxy.sending.append("0\r\n\r\n") }
          bodyRest = .done
          return next
        case .malformed: return nil
        }
      }
    }
  }

  private func take(_ range: Range<Int>, isChunk: Bool) {
    let bytes = proxy.received.range(range)
    if let local { return local.body.append(contentsOf: bytes) }
    if isChunk { proxy.sending.append(chunkSize: range.count) }
    proxy.sending.append(bytes)
    if isChunk { proxy.sending.append("\r\n") }
  }

  /// Reads more of the body, for as long as the backend takes it.
  func receiveBody(on reactor: isolated Reactor) {
    for _ in 0..<BalancerLimits.readsPerTurn {
      guard phase == .carrying || phase == .local, !bodyRest.isDone, mayHaveInput || !input.isEmpty else { break }
      if let upstream, upstream.unsentBytes > BalancerLimits.unsentBytesMax {
        // Not the client's fault: the backend has its time to take what there is.
        if !upstream.isConnecting { expectProgress(within: BalancerLimits.response, on: reactor) }
        return
      }
      proxy.sending.count = 0
      let count = gather(on: reactor)
      bodyBytes += count
      guard let next = count > 0 ? takeBody(from: 0) : 0 else {
        return bodyMalformed(on: reactor)
      }
      keep(from: next)
      if local != nil {
        if localBodyGrew(on: reactor) { return }
      } else if proxy.sending.count > 0 {
        if upstream?.isConnecting == false { expectBodyOrResponse(on: reactor) }
        upstream?.sendMore(proxy.sending.readable, on: reactor)
      }
      // A client that leaves within a body has taken its request back.
      if sawEnd, !bodyRest.isDone { return close(on: reactor) }
    }
    guard mayHaveInput, !bodyRest.isDone, phase == .carrying || phase == .local else { return }
    // Others first: re-arming reports in the next turn what is still there.
    rearm(on: reactor)
  }

  private func bodyMalformed(on reactor: isolated Reactor) {
    proxy.shared.metrics.refused.increment()
    abandonUpstream(on: reactor)
    if hasResponse { return close(on: reactor) }
    answer(Problem(400, "The body's framing is malformed."), closing: true, on: reactor)
  }

  // MARK: Backends

  /// Chooses a backend and sends it the request: what stands ready in the shared memory, or, on a retry, what `failed`
  /// had been given.
  func dispatch(avoiding: Int, taking failed: UpstreamConnection?, on reactor: isolated Reactor) {
    let shared = proxy.shared
    let request = BackendPool.Request(
      nowMs: reactor.now.nanoseconds / 1_000_000, random: proxy.random.next(), ringPosition: ringPosition,
      avoided: avoiding)
    guard let index = shared.pool.choose(shared.strategy, request) else {
      return answer(Problem(503, "No backend is available.", retryAfterSeconds: 1), closing: false, on: reactor)
    }
    attempts += 1
    // A retry goes over a new connection: those that are kept may have been closed together.
    if failed == nil, let kept = proxy.upstreams.take(index) {
      kept.server.requestStarted()
      upstream = kept
      kept.carry(for: self, taking: failed, on: reactor)
      if phase == .carrying, upstream === kept { expectBodyOrResponse(on: reactor) }
      return
    }
    let backend = shared.pool.backends[index]
    backend.requestStarted()
    do throws(SystemError) {
      let fresh = try UpstreamConnection(proxy: proxy, backend: index, on: reactor)
      upstream = fresh
      expectProgress(within: BalancerLimits.connect, on: reactor)
      fresh.carry(for: self, taking: failed, on: reactor)
      // A Unix socket is connected at once, and nobody will say so later.
      if phase == .carrying, upstream === fresh, !fresh.isConnecting { expectBodyOrResponse(on: reactor) }
    } catch {
      switch error.code {
      case EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL, ENOSPC:
        // Our own shortage, not the backend's fault.
        backend.requestAbandoned()
        let problem = Problem(503, "The balancer is out of resources.", retryAfterSeconds: 1)
        answer(problem, closing: !bodyRest.isDone, on: reactor)
      case EAGAIN:
        // A Unix socket's queue of connections is full: the backend is busy, not broken.
        backend.requestAbandoned()
        let problem = Problem(503, "The backend is too busy to take a connection.", retryAfterSeconds: 1)
        retry(after: failed, avoiding: index, otherwise: problem, on: reactor)
      default:
        backend.requestFailed(at: request.nowMs)
        let problem = Problem(502, "The backend refused the connection.")
        retry(after: failed, avoiding: index, otherwise: problem, on: reactor)
      }
    }
  }

  /// A connection to a backend was made: the response may now take its time.
  func upstreamConnected(on reactor: isolated Reactor) {
    expectBodyOrResponse(on: reactor)
  }

  /// The backend has failed this request before any byte of a response. `isSafe`: the backend cannot have read it, so
  /// that sending it again cannot do anything twice.
  func upstreamFailed(_ failed: UpstreamConnection, isSafe: Bool, status: Int, on reactor: isolated Reactor) {
    upstream = nil
    // A kept connection that the backend had closed says nothing bad about the backend: it may be tried again.
    let wasStale = failed.isReused && isSafe
    if wasStale {
      failed.server.requestAbandoned()
    } else {
      failed.server.requestFailed(at: reactor.now.nanoseconds / 1_000_000)
    }
    guard isSafe || method.isIdempotent, failed.isReplayable else {
      return answer(Problem(status, "The backend failed."), closing: !bodyRest.isDone, on: reactor)
    }
    if wasStale, attempts < BalancerLimits.attemptsMax {
      // Free of charge: the backend has seen nothing of the request, so that this is no additional load for anybody.
      proxy.shared.metrics.retries.increment()
      return dispatch(avoiding: -1, taking: failed, on: reactor)
    }
    retry(after: failed, avoiding: failed.backend, otherwise: Problem(status, "The backend failed."), on: reactor)
  }

  /// Sends the request again if number of attempts and budget allow it. `failed` holds what was sent; without it, it
  /// stands ready in the shared memory.
  private func retry(
    after failed: UpstreamConnection?, avoiding: Int, otherwise problem: Problem, on reactor: isolated Reactor
  ) {
    guard attempts < BalancerLimits.attemptsMax, proxy.shared.retries.takeRetry() else {
      return answer(problem, closing: !bodyRest.isDone, on: reactor)
    }
    proxy.shared.metrics.retries.increment()
    dispatch(avoiding: avoiding, taking: failed, on: reactor)
  }

  /// The deadline of the request in progress has passed.
  func requestTimedOut(on reactor: isolated Reactor) {
    if let upstream, upstream.isConnecting { return upstream.connectTimedOut(on: reactor) }
    // Who is waited for: the client, if it does not take the response or has more of the body to send and could; else
    // the backend, which does not take the body or does not answer.
    let isBackendFull = upstream.map { $0.unsentBytes > BalancerLimits.unsentBytesMax } ?? false
    let isClientsFault = isBlocked || !(bodyRest.isDone || isBackendFull)
    if let upstream, !isClientsFault {
      self.upstream = nil
      upstream.backendFailed(on: reactor)
    } else {
      abandonUpstream(on: reactor)
    }
    if hasResponse { return close(on: reactor) }
    let problem =
      isClientsFault
      ? Problem(408, "The body of the request took too long.") : Problem(504, "The backend took too long to answer.")
    answer(problem, closing: true, on: reactor)
  }

  private func abandonUpstream(on reactor: isolated Reactor) {
    upstream.take()?.clientLeft(on: reactor)
  }
}
