/// A request method (RFC 9110 §9, RFC 5789). Methods are case-sensitive.
public enum HTTPMethod: UInt8, Sendable, CaseIterable {
  /// The methods that code here decides by.
  case get, head, post, put, delete, patch, options, trace, connect
  /// Any other token; its spelling stands in the request line.
  case other

  /// The name as it stands in a request line; empty for `other`.
  public var name: StaticString {
    switch self {
    case .get: "GET"
    case .head: "HEAD"
    case .post: "POST"
    case .put: "PUT"
    case .delete: "DELETE"
    case .patch: "PATCH"
    case .options: "OPTIONS"
    case .trace: "TRACE"
    case .connect: "CONNECT"
    case .other: ""
    }
  }

  /// Whether sending it twice means the same as once (RFC 9110 §9.2.2), so that it may be repeated on a new connection.
  public var isIdempotent: Bool {
    switch self {
    case .get, .head, .put, .delete, .options, .trace: true
    case .post, .patch, .connect, .other: false
    }
  }

  /// Whether it only asks (RFC 9110 §9.2.1).
  public var isSafe: Bool {
    switch self {
    case .get, .head, .options, .trace: true
    case .put, .delete, .post, .patch, .connect, .other: false
    }
  }

  /// The method that `bytes[start..<end]` spells.
  static func recognise(_ bytes: Span<UInt8>, _ start: Int, _ end: Int) -> HTTPMethod {
    let candidate: HTTPMethod
    switch (end - start, bytes[start]) {
    case (3, UInt8(ascii: "G")): candidate = .get
    case (4, UInt8(ascii: "P")): candidate = .post
    case (3, UInt8(ascii: "P")): candidate = .put
    case (4, UInt8(ascii: "H")): candidate = .head
    case (6, UInt8(ascii: "D")): candidate = .delete
    case (5, UInt8(ascii: "P")): candidate = .patch
    case (7, UInt8(ascii: "O")): candidate = .options
    case (5, UInt8(ascii: "T")): candidate = .trace
    case (7, UInt8(ascii: "C")): candidate = .connect
    default: return .other
    }
    let name = candidate.name
    for offset in 0..<(end - start) where bytes[start + offset] != name.utf8Start[offset] { return .other }
    return candidate
  }
}
