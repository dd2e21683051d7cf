import Basics
import HTTPSyntax

/// A request id on its way: taken over from the client, or 128 random bits. It is written out only where it is sent, so
/// that making one allocates nothing.
struct ForwardedID {
  private var high: UInt64 = 0
  private var low: UInt64 = 0
  /// What the client sent, if it sent something acceptable.
  private var given: [UInt8] = []
  /// Whether it did: looking at a flag costs less than looking at an array.
  private var isGiven = false

  mutating func make(_ random: inout SeededRandom) {
    high = random.next()
    low = random.next()
    isGiven = false
  }

  mutating func take(_ bytes: UnsafeRawBufferPointer) {
    given.removeAll(keepingCapacity: true)
    given.append(contentsOf: bytes)
    isGiven = true
  }

  /// Inlined, so that the array is touched only where there is one.
  @inline(__always)
  func write(to scratch: ByteScratch) {
    if isGiven { return scratch.append(given) }
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
