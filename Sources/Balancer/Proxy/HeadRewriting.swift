import Basics
import HTTP
import HTTPSyntax

/// A request id on its way: taken over from the client, or 128 random bits. It is written out only where it is sent, so
/// that making one allocates nothing.
struct ForwardedID {
  private var high: UInt64 = 0
  private var low: UInt64 = 0
  /// What the client sent, empty if it sent nothing acceptable.
  private var given: [UInt8] = []

  mutating func make(_ random: inout SeededRandom) {
    high = random.next()
    low = random.next()
    given.removeAll(keepingCapacity: true)
  }

  mutating func take(_ bytes: UnsafeRawBufferPointer) {
    given.removeAll(keepingCapacity: true)
    given.append(contentsOf: bytes)
  }

  func write(to scratch: ByteScratch) {
    if !given.isEmpty { return scratch.append(given) }
    write(high, to: scratch)
    write(low, to: scratch)
  }

  private func write(_ word: UInt64, to scratch: ByteScratch) {
    scratch.append(hexadecimal: word >> 32)
    scratch.append(hexadecimal: word & 0xFFFF_FFFF)
  }

  var bytes: [UInt8] {
    let scratch = ByteScratch(capacity: RequestID.lengthMax)
    write(to: scratch)
    return Array(scratch.readable)
  }
}

/// What becomes of heads on their way through the balancer. A head is never copied as a whole: it is written anew from
/// what was parsed, so that the next reader sees exactly what the balancer understood (one framing field, no
/// hop-by-hop field, no line that parsed by chance).
enum HeadRewriting {
  /// Writes the head of a request for a backend. `bytes` is where `head` was parsed from.
  static func writeRequest(
    _ head: RequestHead, from bytes: UnsafePointer<UInt8>, peer: [UInt8], id: ForwardedID, to out: ByteScratch
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
      case let known where known.isHopByHop: continue
      default:
        if head.namesHopByHopFields, isNamed(field, head, bytes) { continue }
        appendLine(field, bytes, out)
      }
    }
    out.append("X-Forwarded-For: ")
    for index in 0..<head.fieldCount {
      switch head[index].known {
      case .xForwardedFor: append(head[index].value, bytes, out)
      case .forwarded, .xRealIP: out.append("unknown")
      default: continue
      }
      out.append(", ")
    }
    out.append(peer)
    out.append("\r\nX-Forwarded-Proto: http\r\n")
    if !head.authority.isEmpty {
      out.append("X-Forwarded-Host: ")
      append(head.authority, bytes, out)
      out.append("\r\n")
    }
    out.append("X-Request-Id: ")
    id.write(to: out)
    out.append("\r\n")
    if head.framing == .chunked {
      out.append("Transfer-Encoding: chunked\r\n")
    } else if let length = head.contentLength {
      out.append("Content-Length: ")
      out.append(decimal: length)
      out.append("\r\n")
    }
    out.append("\r\n")
  }

  /// Writes the start and the fields of a response for a client; the caller adds its own fields and ends the head.
  static func writeResponse(
    _ head: ResponseHead, from bytes: UnsafePointer<UInt8>, dateLine: [UInt8], to out: ByteScratch
  ) -> Bool {
    out.append("HTTP/1.1 ")
    out.append(decimal: head.status)
    out.append(byte: 0x20)
    append(head.reason, bytes, out)
    out.append("\r\n")
    var hasDate = false
    var hasID = false
    for index in 0..<head.fieldCount {
      let field = head[index]
      if field.known.isHopByHop { continue }
      if head.namesHopByHopFields, isNamed(field, head, bytes) { continue }
      if field.known == .date { hasDate = true }
      if field.known == .xRequestID { hasID = true }
      appendLine(field, bytes, out)
    }
    // A recipient with a clock adds what the origin left out (RFC 9110 §6.6.1).
    if !hasDate && !head.isInterim { out.append(dateLine) }
    return hasID
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
