import Backends
import Balancing
import Basics
import Exchange
import HTTPSyntax
import Reactor

/// From a backend's response to the client's.
extension HTTP1Session {
  /// Reads more of the response.
  /// - Returns: false if the kernel is known to have nothing.
  func receiveResponse(_ link: HTTP1Link, _ proxy: ProxyReactor, on reactor: isolated Reactor) -> Bool {
    guard link.pump.mayReceive else { return false }
    switch link.receive(into: proxy.received, on: reactor) {
    case .nothing: break
    case .bytes:
      proxy.bytesThisTurn += proxy.received.count
      let step = responseArrived(link, proxy, on: reactor)
      // A head must be whole in its time, and interim responses do not extend it; a body must only go on.
      if exchange.phase != .sending { progress.since = reactor.now }
      run(step, on: reactor)
    case .ended(let code): run(responseEnded(link, code, on: reactor), on: reactor)
    }
    return true
  }

  /// The backend has ended the connection; what was kept of a head stands in the reactor's memory.
  private func responseEnded(_ link: HTTP1Link, _ code: CInt, on reactor: isolated Reactor) -> Step {
    proxy.sending.count = 0
    switch link.reading {
    case .body(var body) where link.pump.sawEnd && body.endsWithConnection:
      body.end(to: proxy.sending)
      return exchange.responseReceived(isEnd: true, isLinkClean: false)
    case .head where proxy.received.count > 0: return exchange.responseMalformed()
    default:
      return exchange.upstreamEnded(link.delivery(code: code), isReplayable: request?.isReplayable ?? false)
    }
  }

  /// Ends the link to a server of keys that fails its checks: nobody else has the key, and the server may stand still
  /// for as long as it likes. What may be sent again then goes to whoever can say who has it.
  func leaveFailing(on reactor: isolated Reactor) {
    guard exchange.phase == .sending || exchange.phase == .responding, let backend = chosen?.backend,
      head.destination != .anyBackend, backend.health.failsChecks
    else { return }
    proxy.sending.count = 0
    run(exchange.upstreamEnded(.unknown, isReplayable: request?.isReplayable ?? false), on: reactor)
    drive(on: reactor)
  }

  /// New bytes stand in the reactor's memory.
  private func responseArrived(
    _ link: HTTP1Link, _ proxy: ProxyReactor, on reactor: isolated Reactor
  ) -> Step {
    proxy.sending.count = 0
    var start = 0
    if case .head = link.reading {
      switch headArrived(proxy.responseHead, link, proxy, on: reactor) {
      case .final(let bodyStart): start = bodyStart
      case .incomplete(let step): return step
      case .malformed: return exchange.responseMalformed()
      }
    }
    guard case .body(var body) = link.reading else { return [] }
    switch body.take(proxy.received, from: start, to: proxy.sending) {
    case .incomplete:
      link.reading = .body(body)
      return exchange.responseReceived(isEnd: false, isLinkClean: false)
    case .complete(let next):
      // Whatever stands behind the response, also unread, belongs to no request.
      let isClean = next == proxy.received.count && link.isClean && unsentRequestBytes == 0
      return exchange.responseReceived(isEnd: true, isLinkClean: isClean)
    case .malformed:
      // What came with the head is not sent yet: then the client still gets an answer.
      proxy.sending.count = 0
      return exchange.responseMalformed()
    }
  }

  private enum HeadOutcome {
    case final(bodyStart: Int)
    case incomplete(Step)
    case malformed
  }

  /// Writes the response's head for the client, and before it the interim responses that it wants.
  private func headArrived(
    _ parser: ResponseHead, _ link: HTTP1Link, _ proxy: ProxyReactor, on reactor: isolated Reactor
  ) -> HeadOutcome {
    var start = 0
    var step: Step = []
    while true {
      parser.reset()
      switch proxy.received.span({ parser.parse($0.extracting(start...), answering: head.method) }) {
      case .malformed: return .malformed
      case .incomplete:
        link.keep(proxy.received, from: start)
        return .incomplete(step)
      case .complete(let bytes):
        // Nobody asked for another protocol: Upgrade is never passed on.
        if parser.status == 101 { return .malformed }
        if !parser.isInterim {
          link.answered(with: parser.status, at: reactor.now)
          link.reading = .body(writeHead(parser, at: start, for: link, proxy, on: reactor))
          return .final(bodyStart: start + bytes)
        }
        step.formUnion(exchange.interimReceived())
        // It may have been an invitation.
        progress.pace = Pace(from: reactor.now)
        if head.minorVersion == 1, parser.status != 100 || head.expectsContinue {
          _ = HeadRewriting.writeResponse(parser, from: proxy.received.base + start, to: proxy.sending)
          proxy.sending.append("\r\n")
        }
        start += bytes
      }
    }
  }

  /// Writes the final head, and returns how the body is passed on.
  private func writeHead(
    _ parsed: ResponseHead, at start: Int, for link: HTTP1Link, _ proxy: ProxyReactor, on reactor: isolated Reactor
  ) -> BodyRelay {
    let found = HeadRewriting.writeResponse(parsed, from: proxy.received.base + start, to: proxy.sending)
    // A recipient with a clock adds what the origin left out (RFC 9110 §6.6.1).
    if !found.date { proxy.appendDate(on: reactor) }
    if !found.requestID {
      proxy.sending.append("X-Request-Id: ")
      id.write(to: proxy.sending)
      proxy.sending.append("\r\n")
    }
    if let decision { proxy.appendLimit(decision) }
    if proxy.exposesBackend { proxy.sending.append(link.entry.line) }
    if let given = parsed.value(of: .keepAlive) {
      let value = proxy.received.range(start + given.lowerBound..<start + given.upperBound)
      if let seconds = HeadRewriting.keepAliveTimeout(value) { link.entry.lifetime.announced(seconds) }
    }
    return writeFraming(parsed, to: proxy.sending)
  }

  private func writeFraming(_ parsed: ResponseHead, to out: ByteScratch) -> BodyRelay {
    let isOld = head.minorVersion == 0
    let tellsItsEnd = parsed.framing == .chunked || parsed.framing == .untilClose
    switch parsed.framing {
    case .none: if let length = parsed.contentLength, parsed.status != 204 { writeLength(length, to: out) }
    case .length(let length): writeLength(length, to: out)
    case .chunked, .untilClose: if !isOld { out.append("Transfer-Encoding: chunked\r\n") }
    }
    // An old client learns the end of such a body from the end of the connection.
    let step = exchange.responseHeadReceived(
      keepsLink: parsed.keepsAlive, endsWithConnection: tellsItsEnd && isOld)
    if step.contains(.announceClose) {
      out.append("Connection: close\r\n")
    } else if isOld {
      out.append("Connection: keep-alive\r\n")
    }
    out.append("\r\n")
    return BodyRelay(parsed.framing, as: tellsItsEnd && !isOld ? .chunked : .plain)
  }

  private func writeLength(_ length: Int, to out: ByteScratch) {
    out.append("Content-Length: ")
    out.append(decimal: length)
    out.append("\r\n")
  }
}
