import Synchronization

/// A fixed array of atomic words.
final class AtomicWords: @unchecked Sendable {
  // Safe because: the storage is set up before anybody shares it, never moves, and is only touched through atomics.
  private let storage: UnsafeMutablePointer<Atomic<UInt64>>
  let count: Int

  init(count: Int) {
    self.count = count
    storage = .allocate(capacity: count)
    for index in 0..<count { (storage + index).initialize(to: Atomic(0)) }
  }

  deinit {
    storage.deinitialize(count: count)
    storage.deallocate()
  }

  subscript(index: Int) -> Atomic<UInt64> {
    _read {
      precondition(index >= 0 && index < count, "outside the table")
      yield storage[index]
    }
  }
}
