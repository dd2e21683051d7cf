import CLinux
import Glibc

/// A growing run of bytes with a reading and a writing end, what sockets are read into and written from:
///
///     | consumed | readable ……… | writable |
///     0         head           tail      capacity
///
/// Storage comes from `malloc` on the first write and can be given back while idle, so that a quiet connection owns
/// nothing. It is a value without copies: the connection that holds it owns it.
public struct ByteBuffer: ~Copyable {
  private var storage: UnsafeMutableRawPointer?
  // Narrow, because every connection has two of these: below 4 GiB, which `reserve` sees to.
  private var narrowCapacity: UInt32 = 0
  private var narrowHead: UInt32 = 0
  private var narrowTail: UInt32 = 0

  private var capacity: Int { Int(narrowCapacity) }
  private var head: Int {
    get { Int(narrowHead) }
    set { narrowHead = UInt32(truncatingIfNeeded: newValue) }
  }
  private var tail: Int {
    get { Int(narrowTail) }
    set { narrowTail = UInt32(truncatingIfNeeded: newValue) }
  }

  /// An empty buffer without storage.
  public init() {}

  deinit { free(storage) }

  /// How many bytes wait to be read.
  public var count: Int { tail - head }

  /// Whether no byte waits to be read.
  public var isEmpty: Bool { tail == head }

  /// Bytes of memory the buffer owns.
  public var bytesOwned: Int { capacity }

  /// Calls `body` with the readable bytes; they are valid only inside it.
  public func withReadable<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
    guard let storage else { return try body(UnsafeRawBufferPointer(start: nil, count: 0)) }
    return try body(UnsafeRawBufferPointer(start: storage + head, count: tail - head))
  }

  /// A copy of `range`, counted from the first readable byte.
  public func bytes(_ range: Range<Int>) -> [UInt8] {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "range outside the readable bytes")
    return withReadable { Array($0[range]) }
  }

  /// Drops the oldest `amount` readable bytes.
  public mutating func consume(_ amount: Int) {
    precondition(amount >= 0 && amount <= count, "consumed more than is readable")
    head += amount
    if head == tail {
      head = 0
      tail = 0
    }
  }

  /// Drops everything readable and keeps the storage.
  public mutating func removeAll() {
    head = 0
    tail = 0
  }

  /// Gives the storage back if nothing waits to be read.
  public mutating func releaseIfEmpty() {
    guard isEmpty, storage != nil else { return }
    free(storage)
    storage = nil
    narrowCapacity = 0
  }

  /// Makes room for `amount` more bytes behind the readable ones.
  public mutating func reserve(_ amount: Int) {
    if capacity - tail >= amount { return }
    let used = count
    if capacity - used >= amount, head >= used {
      // The consumed front is large enough to slide into: cheaper than growing.
      if used > 0, let storage { memmove(storage, storage + head, used) }
    } else {
      let limit = Int(UInt32.max)
      precondition(used + amount <= limit, "a buffer of 4 GiB or more")
      var larger = max(capacity, 1024)
      while larger < used + amount { larger = min(larger * 2, limit) }
      guard let grown = malloc(larger) else { fatalError("out of memory for a buffer of \(larger) bytes") }
      if used > 0, let storage { memcpy(grown, storage + head, used) }
      free(storage)
      storage = grown
      narrowCapacity = UInt32(larger)
    }
    head = 0
    tail = used
  }

  /// Appends a copy of `bytes`.
  public mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard let source = bytes.baseAddress, !bytes.isEmpty else { return }
    reserve(bytes.count)
    memcpy(storage! + tail, source, bytes.count)
    tail += bytes.count
  }

  /// Appends a copy of `bytes`.
  public mutating func append(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { append($0) }
  }

  /// Appends the UTF-8 bytes of a literal.
  public mutating func append(_ text: StaticString) {
    append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  /// Lets `body` write into at least `room` free bytes; it returns how many it wrote (negative counts as none).
  public mutating func fill<R>(room: Int, _ body: (UnsafeMutableRawBufferPointer) -> (written: Int, result: R)) -> R {
    reserve(room)
    let (written, result) = body(UnsafeMutableRawBufferPointer(start: storage! + tail, count: capacity - tail))
    precondition(written <= capacity - tail, "wrote past the buffer")
    tail += max(written, 0)
    return result
  }
}
