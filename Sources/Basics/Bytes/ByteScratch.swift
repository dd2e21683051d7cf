/// A piece of memory that all connections of a reactor share for what lives only within one event: what was just read,
/// and what is about to be sent. So a connection that waits owns no buffer.
///
/// It is one of the few places with pointers: appending must cost a bounds check and a copy, nothing else. Appending
/// more than there is room for traps: whoever fills it knows the most that one event can make of what was read.
public final class ByteScratch {
  /// The first byte.
  public let base: UnsafeMutablePointer<UInt8>
  /// Bytes of memory.
  public let capacity: Int
  /// How many of them are in use.
  public var count: Int {
    @inlinable get { used }
    @inlinable set {
      precondition(newValue >= 0 && newValue <= capacity, "a scratch has no such length")
      used = newValue
    }
  }
  @usableFromInline var used = 0

  /// Memory for `capacity` bytes, none in use.
  public init(capacity: Int) {
    self.capacity = capacity
    // Behind it there is room for a word, so that a part of one can be written as a whole.
    base = .allocate(capacity: capacity + 8)
  }

  deinit { base.deallocate() }

  /// The bytes in use.
  @inlinable public var readable: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

  /// The memory behind the bytes in use.
  @inlinable public var free: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: base + used, count: capacity - used)
  }

  /// The bytes as the parsers take them.
  @inlinable public func span<R>(_ body: (Span<UInt8>) -> R) -> R {
    body(UnsafeBufferPointer(start: base, count: count).span)
  }

  /// The bytes of `range`, which must be in use.
  @inlinable public func range(_ range: Range<Int>) -> UnsafeRawBufferPointer {
    precondition(range.upperBound <= count, "outside the scratch")
    return UnsafeRawBufferPointer(start: base + range.lowerBound, count: range.count)
  }

  /// Appends `length` bytes from `source`.
  @inlinable @inline(__always)
  public func append(_ source: UnsafePointer<UInt8>, _ length: Int) {
    precondition(capacity - count >= length, "a scratch is full")
    (base + count).update(from: source, count: length)
    used += length
  }

  /// Appends `bytes`.
  @inlinable @inline(__always)
  public func append(_ bytes: UnsafeRawBufferPointer) {
    guard let source = bytes.baseAddress else { return }
    append(source.assumingMemoryBound(to: UInt8.self), bytes.count)
  }

  /// Appends the UTF-8 bytes of a literal.
  @inlinable @inline(__always)
  public func append(_ text: StaticString) {
    append(text.utf8Start, text.utf8CodeUnitCount)
  }

  /// Appends `bytes`.
  @inlinable @inline(__always)
  public func append(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { append($0) }
  }

  /// Appends one byte.
  @inlinable @inline(__always)
  public func append(byte: UInt8) {
    precondition(count < capacity, "a scratch is full")
    base[count] = byte
    used += 1
  }

  /// Appends the digits of `number`, which is not negative.
  public func append(decimal number: Int) {
    precondition(number >= 0, "a negative number in a message")
    let (upper, lower) = UInt64(number).quotientAndRemainder(dividingBy: 100_000_000)
    guard upper > 0 else {
      let digits = ByteScratch.digits(lower)
      // The first digit stands in the lowest byte; the last one is written even if it is 0.
      let zeros = min(digits.trailingZeroBitCount / 8, 7)
      return append(word: (digits | 0x3030_3030_3030_3030) >> UInt64(zeros * 8), 8 - zeros)
    }
    append(decimal: Int(upper))
    append(word: ByteScratch.digits(lower) | 0x3030_3030_3030_3030, 8)
  }

  /// The eight digits of a number below 10^8, a byte each, the first in the lowest one: halves, then quarters, then
  /// digits are split side by side in one word, each division being a multiplication and a shift that are exact there.
  private static func digits(_ number: UInt64) -> UInt64 {
    let halves = number / 10_000 | (number % 10_000) << 32
    let hundreds = (halves &* 10_486) >> 20 & 0x0000_007F_0000_007F
    let pairs = hundreds | (halves &- hundreds &* 100) << 16
    let tens = (pairs &* 103) >> 10 & 0x000F_000F_000F_000F
    return tens | (pairs &- tens &* 10) << 8
  }

  /// Appends the lowest `length` bytes of `word`, 0 to 8, the lowest one first.
  @inlinable @inline(__always)
  public func append(word: UInt64, _ length: Int) {
    precondition(0...8 ~= length, "a word has eight bytes")
    // The memory has room for a whole word behind its capacity.
    precondition(capacity - count >= length, "a scratch is full")
    UnsafeMutableRawPointer(base + count).storeBytes(of: word.littleEndian, as: UInt64.self)
    used += length
  }

  /// Appends the eight digits of a number below 2^32, all at once: each half-byte goes to a byte of its own, and a byte
  /// above 9 is moved on to the letters.
  public func append(hexadecimal number: UInt64) {
    precondition(capacity - count >= 8, "a scratch is full")
    var spread = (number & 0xFFFF) << 32 | number >> 16
    spread = (spread & 0x0000_00FF_0000_00FF) << 16 | (spread & 0x0000_FF00_0000_FF00) >> 8
    spread = (spread & 0x000F_000F_000F_000F) << 8 | (spread & 0x00F0_00F0_00F0_00F0) >> 4
    let letters = ((spread &+ 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101
    let digits = spread &+ 0x3030_3030_3030_3030 &+ letters &* 0x27
    UnsafeMutableRawPointer(base + count).storeBytes(of: digits, as: UInt64.self)
    used += 8
  }

  /// Appends a chunk's size line (RFC 9112 §7.1).
  public func append(chunkSize size: Int) {
    var shift = (Int.bitWidth - 1 - max(size, 1).leadingZeroBitCount) / 4 * 4
    while shift >= 0 {
      let digit = UInt8(size >> shift & 15)
      append(byte: digit < 10 ? 0x30 + digit : 0x57 + digit)
      shift -= 4
    }
    append("\r\n")
  }
}
