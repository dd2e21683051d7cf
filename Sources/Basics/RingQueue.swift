/// A first-in-first-out queue on a growing ring: appending and taking are a store and a mask, and a drained queue keeps
/// its storage, so that a busy loop does not allocate.
@frozen
public struct RingQueue<Element> {
  @usableFromInline var storage: [Element?]
  @usableFromInline var head = 0
  @usableFromInline var length = 0

  /// An empty queue with room for `capacity` elements (rounded up to a power of two).
  @inlinable
  public init(capacity: Int = 16) {
    var size = 16
    while size < capacity { size *= 2 }
    storage = Array(repeating: nil, count: size)
  }

  /// How many elements wait.
  @inlinable
  public var count: Int { length }

  /// Whether nothing waits.
  @inlinable
  public var isEmpty: Bool { count == 0 }

  /// The oldest element without taking it.
  @inlinable
  public var first: Element? { count == 0 ? nil : storage[head] }

  /// Adds `element` as the newest.
  @inlinable
  public mutating func append(_ element: Element) {
    if count == storage.count { grow() }
    storage[(head + count) & (storage.count - 1)] = element
    length += 1
  }

  /// Calls `body` with each element, oldest first.
  @inlinable
  public func forEach(_ body: (Element) -> Void) {
    for index in 0..<count {
      if let element = storage[(head + index) & (storage.count - 1)] { body(element) }
    }
  }

  /// Takes the oldest element, nil if there is none.
  @inlinable
  public mutating func popFirst() -> Element? {
    guard count > 0 else { return nil }
    let element = storage[head].take()
    head = (head + 1) & (storage.count - 1)
    length -= 1
    return element
  }

  @inlinable
  mutating func grow() {
    var larger = [Element?](repeating: nil, count: storage.count * 2)
    for index in 0..<count {
      larger[index] = storage[(head + index) & (storage.count - 1)].take()
    }
    storage = larger
    head = 0
  }
}
