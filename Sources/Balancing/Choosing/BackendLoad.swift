import Synchronization

/// What requests write about a backend, on cache lines of its own: every choice reads the health of all backends, and
/// must not wait for another processor's counting.
struct BackendLoad: Sendable {
  enum Number: Int {
    /// Requests sent and not answered yet.
    case inFlight
    /// Requests sent.
    case requests
    /// Requests that failed or were answered badly.
    case errors
    /// A moving average of the time to a good answer in microseconds.
    case latencyUs
    /// A moving average of the share of bad answers, in 1/1024ths.
    case badShare
  }

  /// A cache line of 64 bytes on each side, wherever the allocation begins.
  private let words = AtomicWords(count: 24)

  subscript(number: Number) -> Atomic<UInt64> {
    _read { yield words[8 + number.rawValue] }
  }
}
