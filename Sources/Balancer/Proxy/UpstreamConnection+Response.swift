import Balancing
import Basics
import HTTP
import HTTPSyntax
import Reactor

/// How far the response to the request in progress has come.
struct ResponseProgress {
  enum Rest {
    case head
    case length(Int)
    case chunked(ChunkedDecoder)
    case untilClose
    case done
  }

  var rest = Rest.head
  var status = 0
  /// Whether an interim response has come: then the backend has seen the request.
  var hadInterim = false
  /// From the request's last byte to the response's head.
  var latency = TimeSpan(nanoseconds: 0)
  /// Whether the backend lets the connection be used again.
  var keepsAlive = false
  /// Whether the client gets the body in chunks.
  var sendsChunks = false
}

/// From a backend's response to the client's.
extension UpstreamConnection {
  /// New bytes stand in the shared memory.
  func responseArrived(for client: ClientConnection, on reactor: isolated Reactor) {
    proxy.sending.count = 0
    var start = 0
    if case .head = response.rest {
      guard let bodyStart = headArrived(for: client, on: reactor) else { return }
      start = bodyStart
    }
    client.expectProgress(within: BalancerLimits.response, on: reactor)
    guard let end = takeBody(from: start, on: reactor) else {
      // Half a response may have been passed on already: only an ended connection tells the client so.
      backendFailed(on: reactor)
      client.upstream = nil
      return client.close(on: reactor)
    }
    if proxy.sending.count > 0 {
      client.hasResponse = true
      client.send(proxy.sending.readable, on: reactor)
    }
    guard client.phase != .closed, case .done = response.rest else { return }
    // Whatever stands behind the response, also unread, belongs to no request.
    finishResponse(mayKeep: end == proxy.received.count && !mayHaveInput, on: reactor)
  }

  /// Writes the response's head for the client; where its body begins, nil if there is no final response yet.
  private func headArrived(for client: ClientConnection, on reactor: isolated Reactor) -> Int? {
    let head = proxy.responseHead
    let scratch = proxy.received
    var start = 0
    while true {
      head.reset()
      switch scratch.span({ head.parse($0.extracting(start...), answering: client.method) }) {
      case .malformed:
        misbehaved(on: reactor)
        return nil
      case .incomplete:
        keep(from: start)
        if proxy.sending.count > 0 { client.send(proxy.sending.readable, on: reactor) }
        return nil
      case .complete(let bytes):
        // Nobody asked for another protocol: Upgrade is never passed on.
        if head.status == 101 {
          misbehaved(on: reactor)
          return nil
        }
        if !head.isInterim {
          response.latency = latency(on: reactor)
          writeHead(head, at: start, for: client, on: reactor)
          return start + bytes
        }
        response.hadInterim = true
        // 100 was answered by the balancer itself; others are passed on (RFC 9110 §15.2).
        if head.status != 100, client.minorVersion == 1 {
          _ = HeadRewriting.writeResponse(head, from: scratch.base + start, dateLine: [], to: proxy.sending)
          proxy.sending.append("\r\n")
        }
        start += bytes
      }
    }
  }

  private func writeHead(
    _ head: ResponseHead, at start: Int, for client: ClientConnection, on reactor: isolated Reactor
  ) {
    let out = proxy.sending
    let shared = proxy.shared
    let hasID = HeadRewriting.writeResponse(
      head, from: proxy.received.base + start, dateLine: proxy.dateLine, to: out)
    if !hasID {
      out.append("X-Request-Id: ")
      client.id.write(to: out)
      out.append("\r\n")
    }
    if let decision = client.decision {
      out.append(shared.policyLine)
      out.append("RateLimit: \"default\";r=")
      out.append(decimal: decision.remaining)
      out.append(";t=")
      out.append(decimal: decision.resetSeconds)
      out.append("\r\n")
    }
    if shared.configuration.exposesBackend { out.append(shared.backendLines[backend]) }
    response.status = head.status
    response.keepsAlive = head.keepsAlive
    writeFraming(head, for: client, to: out)
    out.append("\r\n")
  }

  private func writeFraming(_ head: ResponseHead, for client: ClientConnection, to out: ByteScratch) {
    let isOld = client.minorVersion == 0
    switch head.framing {
    case .none:
      response.rest = .done
      if let length = head.contentLength, head.status != 204 { writeLength(length, to: out) }
    case .length(let length):
      response.rest = .length(length)
      writeLength(length, to: out)
    case .chunked, .untilClose:
      response.rest = head.framing == .chunked ? .chunked(ChunkedDecoder()) : .untilClose
      response.sendsChunks = !isOld
      // An old client learns the end of the body from the end of the connection.
      if isOld { client.keepsAlive = false } else { out.append("Transfer-Encoding: chunked\r\n") }
    }
    if !client.keepsAlive || !client.bodyRest.isDone || proxy.isDraining {
      client.keepsAlive = false
      out.append("Connection: close\r\n")
    } else if isOld {
      out.append("Connection: keep-alive\r\n")
    }
  }

  private func writeLength(_ length: Int, to out: ByteScratch) {
    out.append("Content-Length: ")
    out.append(decimal: length)
    out.append("\r\n")
  }

  /// Moves the body from `start` on to what is about to be sent; where it ends, nil if it is malformed.
  private func takeBody(from start: Int, on reactor: isolated Reactor) -> Int? {
    let scratch = proxy.received
    switch response.rest {
    case .head, .done: return start
    case .length(let rest):
      let amount = min(rest, scratch.count - start)
      proxy.sending.append(scratch.range(start..<start + amount))
      response.rest = rest == amount ? .done : .length(rest - amount)
      return start + amount
    case .untilClose:
      take(start..<scratch.count)
      return scratch.count
    case .chunked(var decoder):
      var position = start
      while true {
        switch scratch.span({ decoder.next($0, from: position) }) {
        case .data(let range):
          take(range)
          position = range.upperBound
        case .incomplete:
          response.rest = .chunked(decoder)
          return scratch.count
        case .complete(let next):
          if response.sendsChunks { proxy.sending.append("0\r\n\r\n") }
          response.rest = .done
          return next
        case .malformed: return nil
        }
      }
    }
  }

  private func take(_ range: Range<Int>) {
    guard !range.isEmpty else { return }
    if response.sendsChunks { proxy.sending.append(chunkSize: range.count) }
    proxy.sending.append(proxy.received.range(range))
    if response.sendsChunks { proxy.sending.append("\r\n") }
  }
}
