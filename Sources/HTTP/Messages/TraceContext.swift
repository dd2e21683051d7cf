import HTTPSyntax

/// The trace that a request is part of, as its `traceparent` tells (W3C Trace Context, §3.2).
public struct TraceContext: Equatable, Sendable {
  /// What all that belongs to the trace has in common: 32 digits in hexadecimal, lower case, not all of them 0.
  public let traceID: String

  /// Nil if `field` is none of version 00, nor of a later one that begins like it.
  init?(_ field: ArraySlice<UInt8>) {
    let parts = field.split(separator: UInt8(ascii: "-"), maxSplits: 4, omittingEmptySubsequences: false)
    guard parts.count >= 4, zip(parts, [2, 32, 16, 2]).allSatisfy({ TraceContext.isHex($0, $1) }) else { return nil }
    let isOfVersion0 = parts[0].elementsEqual("00".utf8)
    guard parts.count == 4 || !isOfVersion0, !parts[0].elementsEqual("ff".utf8) else { return nil }
    for id in parts[1...2] where id.allSatisfy({ $0 == UInt8(ascii: "0") }) { return nil }
    traceID = String(decoding: parts[1], as: UTF8.self)
  }

  private static func isHex(_ text: ArraySlice<UInt8>, _ count: Int) -> Bool {
    text.count == count && text.allSatisfy { 0x30...0x39 ~= $0 || 0x61...0x66 ~= $0 }
  }
}

extension HTTPRequest {
  /// The trace that it is part of, nil if it tells of none.
  public var trace: TraceContext? { value(of: .traceparent).flatMap { TraceContext($0) } }
}
