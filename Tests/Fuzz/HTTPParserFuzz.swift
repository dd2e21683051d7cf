import HTTPSyntax

/// What libFuzzer calls with each input: a stream of requests, and the same bytes as responses. The parsers must not
/// trap, and must say the same whether the stream comes whole or cut at the place that the first byte names.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ start: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  guard let start, size > 0 else { return 0 }
  let input = UnsafeBufferPointer(start: start + 1, count: size - 1)
  let cut = min(Int(start[0]), input.count)
  for method in [nil, HTTPMethod.get, HTTPMethod.head] {
    var whole = HTTPEventLog(answering: method)
    whole.take(input)
    whole.finish()
    var parts = HTTPEventLog(answering: method)
    parts.take(input[..<cut])
    parts.take(input[cut...])
    parts.finish()
    precondition(whole.lines == parts.lines, "the log depends on the cut: \(whole.lines) and \(parts.lines)")
  }
  return 0
}
