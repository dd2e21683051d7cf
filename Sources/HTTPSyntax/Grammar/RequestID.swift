public import Basics

/// Names of requests: taken over from a client that sent an acceptable one, else made here.
public enum RequestID {
  /// Characters of a request id that is taken over.
  public static let lengthMax = 128

  /// Whether `bytes` may be taken over: letters, digits, `.`, `_`, `~` and `-`, which stand unescaped in a field, a
  /// JSON string, a log line and a URL.
  public static func isAcceptable(_ bytes: Span<UInt8>) -> Bool {
    guard 1...lengthMax ~= bytes.count else { return false }
    for index in 0..<bytes.count where !ByteClass.unreserved.contains(bytes[index]) { return false }
    return true
  }

  /// Calls `put` with each character of a new id.
  public static func make(_ random: inout SeededRandom, _ put: (UInt8) -> Void) {
    for _ in 0..<2 {
      var word = random.next()
      for _ in 0..<16 {
        put(Hex.digit(UInt8(truncatingIfNeeded: word >> 60)))
        word <<= 4
      }
    }
  }
}
