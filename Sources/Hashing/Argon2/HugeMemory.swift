import Glibc

/// Memory for one computation, in pages of 2 MiB where the system has them: argon2 jumps about in all of it, and small
/// pages cost it thousands of faults and many misses of the translation buffer.
enum HugeMemory {
  /// As libargon2 wants it: an address through `memory`, and 0 or else a failure.
  static let allocate: @convention(c) (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>?, Int) -> CInt = {
    memory, bytes in
    let place = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let place, place != MAP_FAILED else { return -1 }
    // Only a wish: without huge pages everything works, but slower.
    madvise(place, bytes, MADV_HUGEPAGE)
    memory?.pointee = place.assumingMemoryBound(to: UInt8.self)
    return 0
  }

  /// Gives memory back; libargon2 has wiped it before.
  static let free: @convention(c) (UnsafeMutablePointer<UInt8>?, Int) -> Void = { memory, bytes in
    munmap(memory, bytes)
  }
}
