import Balancing
import Basics
import Exchange
import HTTPSyntax
import Reactor
import Telemetry

/// What comes from the client: heads, bodies, and what is dropped.
extension HTTP1Session {
  /// Fills the reactor's memory with what was kept and what the kernel has; nil if the connection is broken.
  ///
  /// If more than `most` bytes were kept, which are pipelined requests, it gets no more than the first of them, and
  /// they stay where they are: to move all for each request would cost the square of their number.
  private func gather(
    _ scratch: ByteScratch, most: Int = BalancerLimits.pipelinedBytesMoved, on reactor: isolated Reactor
  ) -> Int? {
    scratch.count = 0
    proxy.holdsCopy = input.count > most
    if proxy.holdsCopy {
      input.withReadable { scratch.append(UnsafeRawBufferPointer(rebasing: $0[..<most])) }
      return scratch.count
    }
    if !input.isEmpty {
      input.withReadable { scratch.append($0) }
      input.removeAll()
    }
    let room = min(scratch.capacity - scratch.count, proxy.held.readBytesMax)
    guard pump.mayReceive, room > 0 else { return scratch.count }
    switch pump.receive(into: UnsafeMutableRawBufferPointer(rebasing: scratch.free[..<room]), on: reactor) {
    case .bytes(let count):
      scratch.count += count
      proxy.bytesThisTurn += count
    case .nothing, .end: break
    case .failed:
      run(exchange.clientLeft(), on: reactor)
      return nil
    }
    return scratch.count
  }

  /// Keeps the bytes of the reactor's memory from `start` on for later.
  private func keep(_ scratch: ByteScratch, from start: Int) {
    if proxy.holdsCopy {
      input.consume(start)
    } else if start < scratch.count {
      input.append(scratch.range(start..<scratch.count))
    }
  }

  /// Adds what has come to the part of a head that was kept; whether it is worth parsing again.
  private func addToHead(_ scratch: ByteScratch, on reactor: isolated Reactor) -> Bool {
    scratch.count = 0
    let room = min(scratch.capacity - input.count, proxy.held.readBytesMax)
    switch pump.receive(into: UnsafeMutableRawBufferPointer(rebasing: scratch.free[..<room]), on: reactor) {
    case .bytes(let count):
      scratch.count = count
      proxy.bytesThisTurn += count
      input.append(scratch.readable)
      return partial.isWorthParsing(scratch.readable, of: input.count)
    case .nothing, .end: return false
    case .failed:
      run(exchange.clientLeft(), on: reactor)
      return false
    }
  }

  /// Reads a head, or more of one. A partial head is kept and parsed anew with what comes next: the parser's state is
  /// shared by all connections.
  func receiveHead(_ proxy: ProxyReactor, on reactor: isolated Reactor) {
    if progress.hasPartialHead, pump.mayReceive, !addToHead(proxy.received, on: reactor) { return }
    guard let count = gather(proxy.received, on: reactor), count > 0 else { return }
    parseHead(proxy, on: reactor)
  }

  private func parseHead(_ proxy: ProxyReactor, on reactor: isolated Reactor) {
    if !progress.hasPartialHead { progress.startedAt = reactor.now }
    proxy.requestHead.reset()
    switch proxy.received.span({ proxy.requestHead.parse($0) }) {
    case .complete(let bytes):
      progress.hasPartialHead = false
      headArrived(proxy.requestHead, bytes, proxy, on: reactor)
    case .incomplete where proxy.holdsCopy:
      guard gather(proxy.received, most: input.count, on: reactor) != nil else { return }
      parseHead(proxy, on: reactor)
    case .incomplete:
      keep(proxy.received, from: 0)
      partial.parsedInVain(proxy.received.count)
      progress.hasPartialHead = true
    case .malformed(let error):
      proxy.shared.metrics.refused.increment()
      forgetNotes()
      proxy.headError = error
      run(exchange.headMalformed(), on: reactor)
    }
  }

  /// A whole head stands at the beginning of the reactor's memory; what follows it is body or the next request.
  private func headArrived(
    _ parsed: RequestHead, _ headBytes: Int, _ proxy: ProxyReactor, on reactor: isolated Reactor
  ) {
    head.method = parsed.method
    head.minorVersion = UInt8(parsed.minorVersion)
    head.expectsContinue = parsed.expectsContinue
    progress.since = reactor.now
    progress.pace = Pace(from: reactor.now)
    progress.queuedAt = MonotonicTime(nanoseconds: 0)
    decision = nil
    tried = 0
    wantsFreshLink = false
    nameRequest(parsed)
    body = BodyRelay(parsed.framing)
    proxy.sending.count = 0
    var facts = RequestFacts()
    facts.isIdempotent = parsed.method.isIdempotent
    facts.keepsAlive = parsed.keepsAlive
    facts.isLocal = LocalRequest.isFor(parsed, in: proxy.received, proxy)
    if facts.isLocal {
      local = LocalRequest(
        head: Array(proxy.received.range(0..<headBytes)), framing: parsed.framing,
        isLimited: !LocalRequest.isProbe(parsed, in: proxy.received))
      if let next = takeLocalBody(from: headBytes) {
        keep(proxy.received, from: next)
        facts.isWhole = local?.body.isComplete ?? true
        facts.awaitsInvitation = parsed.expectsContinue && headBytes == proxy.received.count && input.isEmpty
      } else {
        malformed(&facts)
      }
      return run(exchange.headReceived(facts), on: reactor)
    }
    if uncounted(proxy.shared, { $0.strategy == .consistentHash }) {
      head.ringPosition = HTTP1Session.hash(proxy.received.range(parsed.path))
    }
    head.destination = proxy.keyRoute?.destination(of: parsed, in: proxy.received) ?? .anyBackend
    // What puts a key makes a version of it each time, unless it bears a name of its own.
    if head.destination != .anyBackend {
      facts.isIdempotent = parsed.method.isSafe || parsed.value(of: .idempotencyKey) != nil
    }
    facts.isUnlimited = LocalRequest.isProbe(parsed, in: proxy.received)
    HeadRewriting.writeRequest(parsed, from: proxy.received.base, for: self, to: proxy.sending)
    switch body.take(proxy.received, from: headBytes, to: proxy.sending) {
    case .incomplete:
      facts.isWhole = false
      keep(proxy.received, from: proxy.received.count)
    case .complete(let next):
      facts.isWhole = true
      keep(proxy.received, from: next)
    case .malformed: malformed(&facts)
    }
    if request == nil { request = proxy.lendRequest() }
    uncounted(request) { $0.append(proxy.sending.readable) }
    run(exchange.headReceived(facts), on: reactor)
  }

  private func malformed(_ facts: inout RequestFacts) {
    facts.isWhole = false
    facts.isBodyMalformed = true
    proxy.shared.metrics.refused.increment()
  }

  /// There is no request, or none that could be read: an answer must not go by the one before.
  func forgetNotes() {
    head = RequestNotes()
    decision = nil
    id.make(&proxy.random)
  }

  private func nameRequest(_ parsed: RequestHead) {
    if let given = parsed.value(of: .xRequestID) {
      let bytes = proxy.received.range(given)
      if RequestID.isAcceptable(bytes.bindMemory(to: UInt8.self).span) { return id.take(bytes) }
    }
    id.make(&proxy.random)
  }

  /// Spreads keys over the ring (FNV-1a and the finisher of SplitMix64); only the ring's own places need SHA-256.
  private static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    var z: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in bytes { z = (z ^ UInt64(byte)) &* 0x100_0000_01B3 }
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  // MARK: Bodies

  /// Reads more of the body.
  func receiveBody(on reactor: isolated Reactor) {
    guard let count = gather(proxy.received, on: reactor), count > 0 else { return }
    if !exchange.isClientBlocked { progress.pace.gave(count, at: reactor.now) }
    if exchange.phase == .local { return receiveLocalBody(on: reactor) }
    proxy.sending.count = 0
    switch body.take(proxy.received, from: 0, to: proxy.sending) {
    case .incomplete:
      keep(proxy.received, from: proxy.received.count)
      moreArrived(isEnd: false, on: reactor)
    case .complete(let next):
      keep(proxy.received, from: next)
      moreArrived(isEnd: true, on: reactor)
    case .malformed:
      proxy.shared.metrics.refused.increment()
      run(exchange.bodyRefused(.bodyMalformed), on: reactor)
    }
  }

  private func moreArrived(isEnd: Bool, on reactor: isolated Reactor) {
    request?.append(proxy.sending.readable)
    // While there is no link that takes it, only so much is kept.
    _ = exchange.requestTaken(isBlocked: isRequestBlocked)
    run(exchange.bodyReceived(isEnd: isEnd), on: reactor)
  }

  /// Whether more of the request waits for the backend than may wait.
  var isRequestBlocked: Bool { unsentRequestBytes > proxy.held.unsentBytesMax }

  /// Bytes of the request that no backend's kernel has taken.
  var unsentRequestBytes: Int { uncounted(request) { $0.unsentCount } ?? 0 }

  private func receiveLocalBody(on reactor: isolated Reactor) {
    guard let local, let next = takeLocalBody(from: 0) else {
      proxy.shared.metrics.refused.increment()
      return run(exchange.bodyRefused(.bodyMalformed), on: reactor)
    }
    keep(proxy.received, from: next)
    if local.bytes.count > BalancerLimits.localBodyBytesMax {
      return run(exchange.bodyRefused(.bodyTooLarge), on: reactor)
    }
    // What is awaited from now on is the answer.
    if local.body.isComplete { progress.since = reactor.now }
    run(exchange.bodyReceived(isEnd: local.body.isComplete), on: reactor)
  }

  /// Moves what the reactor's memory holds of the body from `start` on to the local request; where the next request
  /// begins, nil if the body is malformed.
  private func takeLocalBody(from start: Int) -> Int? {
    guard let local else { return start }
    let scratch = proxy.received
    var position = start
    while true {
      switch scratch.span({ local.body.next($0, from: position) }) {
      case .data(let range):
        local.bytes.append(contentsOf: scratch.range(range))
        position = range.upperBound
      case .incomplete: return scratch.count
      case .complete(let next): return next
      case .malformed: return nil
      }
    }
  }

  /// What the client sends after the last answer interests nobody.
  func dropInput(on reactor: isolated Reactor) {
    input.removeAll()
    guard let count = gather(proxy.received, on: reactor), count > 0 else { return }
    progress.since = reactor.now
  }
}
