import Synchronization

/// An immutable list of backends to choose from, shared by all reactors. When backends come, go or change weight a new
/// pool takes its place; the `Backend`s with their counters live on in it.
///
/// Choosing allocates nothing and takes no lock: strategies read atomics and draw numbers from one shared ticket.
public final class BackendPool: Sendable {
  /// What a choice may depend on beside the backends themselves.
  public struct Request: Sendable {
    /// Milliseconds of the monotonic clock.
    public var nowMs: UInt64
    /// Any 64 random bits, used by `powerOfTwo`.
    public var random: UInt64
    /// A hash of the request's key on the ring, used by `consistentHash`.
    public var ringPosition: UInt64
    /// The bits of the backends that this request is not to be sent to: those that it has tried.
    public var excluded: UInt64

    /// What a choice depends on.
    @inlinable
    public init(nowMs: UInt64, random: UInt64 = 0, ringPosition: UInt64 = 0, excluded: UInt64 = 0) {
      self.nowMs = nowMs
      self.random = random
      self.ringPosition = ringPosition
      self.excluded = excluded
    }
  }

  /// The backends; a choice is an index into them.
  public let backends: [Backend]
  /// If fewer percent of the backends than this are fit, all that were ever seen alive are used: better spread over
  /// some that fail than piled on the few that are left. 0: only when none is fit.
  let panicPercent: Int

  let ring: HashRing
  /// Indexes in the order of smooth weighted round robin, one full round.
  let schedule: [UInt16]
  /// On a cache line of its own: all reactors draw from it.
  private let ticket = AtomicWords(count: 24)

  /// A pool of `backends`; `digest` places them on the ring, see `HashRing`.
  public init(_ backends: [Backend], panicPercent: Int = 0, digest: ([UInt8]) -> UInt64) {
    precondition(backends.count <= Limits.backendsMax, "too many backends for a pool")
    self.backends = backends
    self.panicPercent = panicPercent
    ring = HashRing(names: backends.map(\.name), digest: digest)
    schedule = BackendPool.smoothSchedule(weights: backends.map(\.weight))
  }

  /// The index of the backend for a request, nil if there is none that may be tried and has room.
  public func choose(_ strategy: Strategy, _ request: Request) -> Int? {
    if panicPercent == 0 || eligibleCount(at: request.nowMs) * 100 >= panicPercent * backends.count {
      if let index = choose(strategy, request, isPanic: false) { return index }
      // A backend that is well and only full is worth waiting for; sick ones are for when there is no other.
      if hasFull(request) { return nil }
    }
    return choose(strategy, request, isPanic: true)
  }

  /// Whether some backend is fit and was not tried, so that it can only lack room.
  private func hasFull(_ request: Request) -> Bool {
    backends.contains { $0.health.isEligible(at: request.nowMs) && request.excluded & $0.bit == 0 }
  }

  /// How many backends take traffic at `nowMs`.
  func eligibleCount(at nowMs: UInt64) -> Int {
    var count = 0
    for backend in backends where backend.health.isEligible(at: nowMs) { count += 1 }
    return count
  }

  func nextTicket() -> UInt64 {
    ticket[8].wrappingAdd(1, ordering: .relaxed).oldValue
  }

  /// The order in which smooth weighted round robin serves: in each step every backend gains its weight, the richest is
  /// chosen and pays the sum of all. A common divisor of the weights is taken out first.
  static func smoothSchedule(weights: [Int]) -> [UInt16] {
    func divisor(_ a: Int, _ b: Int) -> Int { b == 0 ? a : divisor(b, a % b) }
    let common = max(weights.reduce(0, divisor), 1)
    let weights = weights.map { $0 / common }
    let total = weights.reduce(0, +)
    var credit = [Int](repeating: 0, count: weights.count)
    return (0..<total).map { _ in
      var best = 0
      for index in weights.indices {
        credit[index] += weights[index]
        if credit[index] > credit[best] { best = index }
      }
      credit[best] -= total
      return UInt16(best)
    }
  }
}
