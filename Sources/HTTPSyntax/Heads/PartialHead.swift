/// Says when a head that comes in pieces is worth parsing again.
///
/// The parsers start at the first byte each time, so that nothing of theirs has to be kept for a connection that waits.
/// If each byte came alone, a head of n bytes would cost n²/2: 16 KiB, 134 million steps. But only a line's end can
/// complete a head, and it has a hundred of those at most; whatever else is wrong with it is seen when it has doubled,
/// or has grown past a bound.
public struct PartialHead: Equatable, Sendable {
  /// How many bytes were parsed last, 0 if there are none.
  private var parsedBytes: UInt16 = 0

  /// Nothing has come.
  public init() {}

  /// Whether a part of a head was parsed.
  public var exists: Bool { parsedBytes > 0 }

  /// A parser has found `bytes` bytes to be incomplete.
  public mutating func parsedInVain(_ bytes: Int) {
    parsedBytes = UInt16(clamping: bytes)
  }

  /// Whether to parse again now that `arrived` has come, with which there are `bytes` in all.
  public func isWorthParsing(_ arrived: UnsafeRawBufferPointer, of bytes: Int) -> Bool {
    let parsed = Int(parsedBytes)
    if bytes >= 2 * parsed { return true }
    for bound in [HTTPLimits.requestLineBytesMax + 2, HTTPLimits.headBytesMax] where parsed <= bound && bytes > bound {
      return true
    }
    return arrived.contains(0x0A)
  }
}
