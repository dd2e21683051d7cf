/// The field names that some code here looks at, recognised while a head is parsed, so that nothing later compares
/// names. All other fields pass through as `other`.
public enum KnownField: UInt8, Sendable, CaseIterable {
  /// A field nobody here looks at.
  case other
  /// A name such as `X_Forwarded_For`: servers that turn names into variables (RFC 3875 §4.1.18) cannot tell it from
  /// the field that framing, forwarding or the connection goes by.
  case imitation
  // Framing and the connection.
  case host, connection, contentLength, transferEncoding, expect, upgrade, te, trailer, keepAlive, proxyConnection
  case http2Settings
  // Who forwarded what.
  case xForwardedFor, xForwardedProto, xForwardedHost, xRealIP, forwarded, via, maxForwards
  case xRequestID, traceparent, tracestate
  // What handlers read.
  case authorization, proxyAuthorization, prefer, accept, acceptEncoding, contentType, contentEncoding, userAgent
  case cookie, origin, secFetchSite
  case ifMatch, ifNoneMatch, idempotencyKey, lastEventID, range
  // What answers carry.
  case date, server, location, retryAfter, cacheControl, etag, age

  /// The name in the case that is sent, empty for `other`.
  public var name: StaticString {
    switch self {
    case .other, .imitation: ""
    case .host: "Host"
    case .connection: "Connection"
    case .contentLength: "Content-Length"
    case .transferEncoding: "Transfer-Encoding"
    case .expect: "Expect"
    case .upgrade: "Upgrade"
    case .te: "TE"
    case .trailer: "Trailer"
    case .keepAlive: "Keep-Alive"
    case .proxyConnection: "Proxy-Connection"
    case .http2Settings: "HTTP2-Settings"
    case .xForwardedFor: "X-Forwarded-For"
    case .xForwardedProto: "X-Forwarded-Proto"
    case .xForwardedHost: "X-Forwarded-Host"
    case .xRealIP: "X-Real-IP"
    case .forwarded: "Forwarded"
    case .via: "Via"
    case .maxForwards: "Max-Forwards"
    case .xRequestID: "X-Request-Id"
    case .traceparent: "traceparent"
    case .tracestate: "tracestate"
    case .authorization: "Authorization"
    case .proxyAuthorization: "Proxy-Authorization"
    case .prefer: "Prefer"
    case .accept: "Accept"
    case .acceptEncoding: "Accept-Encoding"
    case .contentType: "Content-Type"
    case .contentEncoding: "Content-Encoding"
    case .userAgent: "User-Agent"
    case .cookie: "Cookie"
    case .origin: "Origin"
    case .secFetchSite: "Sec-Fetch-Site"
    case .ifMatch: "If-Match"
    case .ifNoneMatch: "If-None-Match"
    case .idempotencyKey: "Idempotency-Key"
    case .lastEventID: "Last-Event-ID"
    case .range: "Range"
    case .date: "Date"
    case .server: "Server"
    case .location: "Location"
    case .retryAfter: "Retry-After"
    case .cacheControl: "Cache-Control"
    case .etag: "ETag"
    case .age: "Age"
    }
  }

  /// Whether the field concerns one connection only, so that a proxy never passes it on (RFC 9110 §7.6.1), or is
  /// framing that the proxy writes anew.
  public var isHopByHop: Bool {
    switch self {
    case .connection, .contentLength, .transferEncoding, .expect, .upgrade, .te, .trailer, .keepAlive, .proxyConnection,
      .http2Settings, .proxyAuthorization:
      true
    default: false
    }
  }

  /// The field that `bytes[start..<end]`, a checked token, names in any case.
  static func recognise(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> KnownField {
    let candidate: KnownField
    let first = bytes[start] | 0x20
    switch end - start {
    case 2: candidate = .te
    case 3: candidate = first == UInt8(ascii: "v") ? .via : .age
    case 4: candidate = first == UInt8(ascii: "h") ? .host : first == UInt8(ascii: "d") ? .date : .etag
    case 5: candidate = .range
    case 6:
      switch first {
      case UInt8(ascii: "a"): candidate = .accept
      case UInt8(ascii: "e"): candidate = .expect
      case UInt8(ascii: "p"): candidate = .prefer
      case UInt8(ascii: "c"): candidate = .cookie
      case UInt8(ascii: "o"): candidate = .origin
      default: candidate = .server
      }
    case 7: candidate = first == UInt8(ascii: "u") ? .upgrade : .trailer
    case 8: candidate = first == UInt8(ascii: "i") ? .ifMatch : .location
    case 9: candidate = first == UInt8(ascii: "x") ? .xRealIP : .forwarded
    case 10:
      switch first {
      case UInt8(ascii: "c"): candidate = .connection
      case UInt8(ascii: "u"): candidate = .userAgent
      case UInt8(ascii: "k"): candidate = .keepAlive
      default: candidate = .tracestate
      }
    case 11: candidate = first == UInt8(ascii: "r") ? .retryAfter : .traceparent
    case 12:
      switch first {
      case UInt8(ascii: "c"): candidate = .contentType
      case UInt8(ascii: "m"): candidate = .maxForwards
      default: candidate = .xRequestID
      }
    case 13:
      switch first {
      case UInt8(ascii: "a"): candidate = .authorization
      case UInt8(ascii: "c"): candidate = .cacheControl
      case UInt8(ascii: "l"): candidate = .lastEventID
      default: candidate = .ifNoneMatch
      }
    case 14:
      switch first {
      case UInt8(ascii: "c"): candidate = .contentLength
      case UInt8(ascii: "s"): candidate = .secFetchSite
      default: candidate = .http2Settings
      }
    case 15:
      switch first {
      case UInt8(ascii: "x"): candidate = .xForwardedFor
      case UInt8(ascii: "i"): candidate = .idempotencyKey
      default: candidate = .acceptEncoding
      }
    case 16:
      switch first {
      case UInt8(ascii: "x"): candidate = .xForwardedHost
      case UInt8(ascii: "c"): candidate = .contentEncoding
      default: candidate = .proxyConnection
      }
    case 17: candidate = first == UInt8(ascii: "x") ? .xForwardedProto : .transferEncoding
    case 19: candidate = .proxyAuthorization
    default: return .other
    }
    if equals(bytes, start, end, candidate.name) { return candidate }
    return candidate.mustBeGenuine && isImitation(bytes, start, end, of: candidate.name) ? .imitation : .other
  }

  /// Whether somebody behind a proxy would believe what this field says of the message or its way.
  private var mustBeGenuine: Bool {
    switch self {
    case .xForwardedFor, .xForwardedProto, .xForwardedHost, .xRealIP, .xRequestID: true
    default: isHopByHop
    }
  }

  /// Whether the name is `name` with an underscore for some `-`.
  private static func isImitation(_ bytes: Span<UInt8>, _ start: Int, _ end: Int, of name: StaticString) -> Bool {
    for offset in 0..<(end - start) {
      let byte = bytes[start + offset]
      let genuine = byte == UInt8(ascii: "_") ? UInt8(ascii: "-") : byte
      if genuine | 0x20 != name.utf8Start[offset] | 0x20 { return false }
    }
    return true
  }
}

/// Whether `bytes[start..<end]` and `text`, letters, digits and `-` only, are the same but for case.
///
/// Eight bytes a step, the last step overlapping the one before: setting bit 5 of each byte makes letters lower case
/// and leaves digits and `-` what they are, and no other byte of a token becomes one of them.
@inline(__always)
func equals(_ bytes: Span<UInt8>, _ start: Int, _ end: Int, _ text: StaticString) -> Bool {
  let length = end - start
  guard length == text.utf8CodeUnitCount, start >= 0, end <= bytes.count else { return false }
  let fold: UInt64 = 0x2020_2020_2020_2020
  let given = bytes.bytes
  let expected = UnsafeRawPointer(text.utf8Start)
  guard length >= 8 else {
    if length >= 4 {
      func differs(_ offset: Int) -> Bool {
        let word = given.unsafeLoadUnaligned(fromByteOffset: start + offset, as: UInt32.self)
        return (word ^ expected.loadUnaligned(fromByteOffset: offset, as: UInt32.self)) & ~0x2020_2020 != 0
      }
      return !differs(0) && !differs(length - 4)
    }
    for offset in 0..<length where bytes[start + offset] | 0x20 != text.utf8Start[offset] | 0x20 { return false }
    return true
  }
  var offset = 0
  while true {
    let word = given.unsafeLoadUnaligned(fromByteOffset: start + offset, as: UInt64.self)
    if word | fold != expected.loadUnaligned(fromByteOffset: offset, as: UInt64.self) | fold { return false }
    if offset == length - 8 { return true }
    offset = min(offset + 8, length - 8)
  }
}
