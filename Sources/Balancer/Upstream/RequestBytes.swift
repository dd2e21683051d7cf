import Basics

/// The bytes of one request on their way to a backend: the rewritten head and what has come of the body. They stay
/// until the request is over, so that the request can be sent again elsewhere, unless they grow past a bound. A reactor
/// lends them out, so that a connection that is quiet owns none.
final class RequestBytes {
  private var bytes = ByteBuffer()
  /// How many of them the kernel has taken on the present link.
  private var taken = 0
  /// Whether all that was sent is still here.
  private(set) var isReplayable = true

  /// Bytes of memory that it owns.
  var bytesOwned: Int { bytes.bytesOwned }

  /// Bytes that the kernel has not taken.
  var unsentCount: Int { bytes.count - taken }

  func append(_ more: UnsafeRawBufferPointer) {
    bytes.append(more)
  }

  /// Gives the unsent bytes to `send`, which adds to its argument how many the kernel took.
  func send<R>(_ send: (UnsafeRawBufferPointer, inout Int) -> R) -> R {
    let result = bytes.withReadable { all in
      send(UnsafeRawBufferPointer(rebasing: all[taken...]), &taken)
    }
    if !isReplayable || taken > 0 && bytes.count > BalancerLimits.replayBytesMax {
      isReplayable = false
      bytes.consume(taken)
      taken = 0
    }
    return result
  }

  /// What the kernel has taken is not kept any longer: the request cannot be sent again.
  func forgetTaken() {
    guard taken > 0 else { return }
    isReplayable = false
    bytes.consume(taken)
    taken = 0
    bytes.releaseIfEmpty()
  }

  /// Everything is to be sent again, over another link.
  func rewind() {
    precondition(isReplayable, "a request is sent again that is no longer whole")
    taken = 0
  }

  /// Makes it ready for another request.
  func reset() {
    bytes.removeAll()
    if bytes.bytesOwned > BalancerLimits.wholeReadBytes { bytes.releaseIfEmpty() }
    taken = 0
    isReplayable = true
  }
}
