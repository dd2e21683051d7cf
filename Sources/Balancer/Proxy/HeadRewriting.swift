import Basics
import HTTPSyntax

/// What becomes of heads on their way through the balancer. A head is never copied as a whole: it is written anew from
/// what was parsed, so that the next reader sees exactly what the balancer understood (one framing field, no
/// hop-by-hop field, no line that parsed by chance).
enum HeadRewriting {
  /// Writes the head of a request for a backend. `bytes` is where `head` was parsed from.
  static func writeRequest(
    _ head: RequestHead, from bytes: UnsafePointer<UInt8>, for session: HTTP1Session, to out: ByteScratch
  ) {
    append(head.methodName, bytes, out)
    out.append(byte: 0x20)
    if head.path.isEmpty { out.append(byte: UInt8(ascii: "/")) } else { append(head.path, bytes, out) }
    append(head.query, bytes, out)
    out.append(" HTTP/1.1\r\nHost: ")
    if head.authority.isEmpty { out.append("localhost") } else { append(head.authority, bytes, out) }
    out.append("\r\n")
    for index in 0..<head.fieldCount {
      let field = head[index]
      switch field.known {
      // Written below from what the balancer knows itself. `Forwarded` (RFC 7239) and `X-Real-IP` are dropped, because
      // the balancer cannot vouch for what a client claims there; that somebody forwarded is told all the same.
      case .host, .xForwardedFor, .xForwardedProto, .xForwardedHost, .xRealIP, .forwarded, .xRequestID, .imitation:
        continue
      case .maxForwards where head.method == .trace || head.method == .options:
        writeMaxForwards(field, bytes, out)
      case let known where known.isHopByHop: continue
      default:
        if head.namesHopByHopFields, isNamed(field, head, bytes) { continue }
        appendLine(field, bytes, out)
      }
    }
    writeForwarding(head, from: bytes, for: session, to: out)
    // Whoever waits for an invitation waits for the backend's (RFC 9110 §10.1.1).
    if head.expectsContinue { out.append("Expect: 100-continue\r\n") }
    if head.framing == .chunked {
      out.append("Transfer-Encoding: chunked\r\n")
    } else if let length = head.contentLength {
      out.append("Content-Length: ")
      out.append(decimal: length)
      out.append("\r\n")
    }
    out.append("\r\n")
  }

  private static func writeForwarding(
    _ head: RequestHead, from bytes: UnsafePointer<UInt8>, for session: HTTP1Session, to out: ByteScratch
  ) {
    out.append("X-Forwarded-For: ")
    for index in 0..<head.fieldCount {
      switch head[index].known {
      case .xForwardedFor: append(head[index].value, bytes, out)
      case .forwarded, .xRealIP: out.append("unknown")
      default: continue
      }
      out.append(", ")
    }
    session.peer.write(to: out)
    out.append("\r\nX-Forwarded-Proto: http\r\n")
    if !head.authority.isEmpty {
      out.append("X-Forwarded-Host: ")
      append(head.authority, bytes, out)
      out.append("\r\n")
    }
    out.append("X-Request-Id: ")
    session.id.write(to: out)
    out.append("\r\n")
    let via = session.proxy.shared.viaName
    if !via.isEmpty {
      out.append(head.minorVersion == 0 ? "Via: 1.0 " : "Via: 1.1 ")
      out.append(via)
      out.append("\r\n")
    }
  }

  /// Passes the field on with one forwarding less left (RFC 9110 §7.6.2); what is no number is dropped.
  private static func writeMaxForwards(_ field: HeadField, _ bytes: UnsafePointer<UInt8>, _ out: ByteScratch) {
    let value = UnsafeRawBufferPointer(start: bytes + field.value.lowerBound, count: field.value.count)
    guard let left = maxForwards(value), left > 0 else { return }
    out.append("Max-Forwards: ")
    out.append(decimal: left - 1)
    out.append("\r\n")
  }

  /// The number that a `Max-Forwards` field holds, nil for anything else.
  static func maxForwards(_ value: UnsafeRawBufferPointer) -> Int? {
    guard 1...9 ~= value.count else { return nil }
    return number(value)
  }

  /// The seconds of a `Keep-Alive: timeout=` field, nil if it says nothing of the kind.
  static func keepAliveTimeout(_ value: UnsafeRawBufferPointer) -> UInt64? {
    let name = Array("timeout=".utf8)
    for start in value.indices where value[start...].starts(with: name) {
      let digits = value[(start + name.count)...].prefix { 0x30...0x39 ~= $0 }
      return 1...9 ~= digits.count ? number(UnsafeRawBufferPointer(rebasing: digits)).map(UInt64.init) : nil
    }
    return nil
  }

  private static func number(_ digits: UnsafeRawBufferPointer) -> Int? {
    var number = 0
    for digit in digits {
      guard 0x30...0x39 ~= digit else { return nil }
      number = number * 10 + Int(digit - 0x30)
    }
    return number
  }

  /// Which fields a response has that the caller adds otherwise.
  struct Found {
    var date = false
    var requestID = false
  }

  /// Writes the start and the fields of a response for a client; the caller adds its own fields and ends the head.
  static func writeResponse(_ head: ResponseHead, from bytes: UnsafePointer<UInt8>, to out: ByteScratch) -> Found {
    out.append("HTTP/1.1 ")
    out.append(decimal: head.status)
    out.append(byte: 0x20)
    append(head.reason, bytes, out)
    out.append("\r\n")
    var found = Found()
    for index in 0..<head.fieldCount {
      let field = head[index]
      if field.known.isHopByHop { continue }
      if head.namesHopByHopFields, isNamed(field, head, bytes) { continue }
      if field.known == .date { found.date = true }
      if field.known == .xRequestID { found.requestID = true }
      appendLine(field, bytes, out)
    }
    return found
  }

  private static func append(_ range: Range<Int>, _ bytes: UnsafePointer<UInt8>, _ out: ByteScratch) {
    out.append(bytes + range.lowerBound, range.count)
  }

  /// Writes `Name: value`; the usual spelling is one copy.
  private static func appendLine(_ field: HeadField, _ bytes: UnsafePointer<UInt8>, _ out: ByteScratch) {
    let name = field.name
    let value = field.value
    if value.lowerBound == name.upperBound + 2, bytes[name.upperBound + 1] == 0x20 {
      append(name.lowerBound..<value.upperBound, bytes, out)
    } else {
      append(name, bytes, out)
      out.append(": ")
      append(value, bytes, out)
    }
    out.append("\r\n")
  }

  private static func isNamed(_ field: HeadField, _ head: RequestHead, _ bytes: UnsafePointer<UInt8>) -> Bool {
    let upTo = head[head.fieldCount - 1].value.upperBound
    return head.connectionNames(field.name, in: UnsafeBufferPointer(start: bytes, count: upTo).span)
  }

  private static func isNamed(_ field: HeadField, _ head: ResponseHead, _ bytes: UnsafePointer<UInt8>) -> Bool {
    let upTo = head[head.fieldCount - 1].value.upperBound
    return head.connectionNames(field.name, in: UnsafeBufferPointer(start: bytes, count: upTo).span)
  }
}
