/// A key: any UTF-8 text up to 512 bytes without NUL. Two are the same if their bytes are; that is less than what
/// `String` takes for the same, so they are compared nowhere as such.
public struct StoreKey: Hashable, Comparable, Sendable {
  /// UTF-8.
  public let bytes: [UInt8]

  /// Nil for a text that is empty, too long, or holds NUL.
  public init?(_ text: String) {
    self.init(utf8: Array(text.utf8))
  }

  /// The key with these bytes, which must be UTF-8; nil as above.
  public init?(utf8 bytes: [UInt8]) {
    guard 1...Limits.keyBytesMax ~= bytes.count, !bytes.contains(0) else { return nil }
    self.bytes = bytes
  }

  /// Where the tag of the key that begins with `bytes` stands, nil if there is none or it is not known yet. It decides
  /// on the partition instead of the whole key, so that keys with one tag stay together: what stands between the first
  /// `{` and the next `}`, unless there is nothing.
  static func tag(in bytes: UnsafeRawBufferPointer) -> Range<Int>? {
    guard let open = bytes.firstIndex(of: UInt8(ascii: "{")),
      let close = bytes[open...].firstIndex(of: UInt8(ascii: "}")), close > open + 1
    else { return nil }
    return open + 1..<close
  }

  /// By their bytes, as the files sort them.
  public static func < (left: StoreKey, right: StoreKey) -> Bool {
    left.bytes.lexicographicallyPrecedes(right.bytes)
  }
}

/// Keys that begin alike, or all of them: which is where a list of keys goes on, and what somebody watches.
public struct KeyRange: Sendable {
  /// What they begin with; nothing for all keys.
  public let prefix: [UInt8]

  /// The keys that begin with `prefix`.
  public init(prefix: String) {
    self.prefix = Array(prefix.utf8)
  }

  /// The smallest bytes that are behind all of the keys; nil if nothing is.
  var end: [UInt8]? {
    // No byte of UTF-8 is the largest one, so that the last can be raised.
    guard let last = prefix.last else { return nil }
    return prefix.dropLast() + [last + 1]
  }
}
