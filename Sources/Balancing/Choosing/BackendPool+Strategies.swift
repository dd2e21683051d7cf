import Basics

extension BackendPool {
  /// One strategy's choice among the fit backends, or among all that were ever seen alive if `isPanic`.
  func choose(_ strategy: Strategy, _ request: Request, isPanic: Bool) -> Int? {
    switch strategy {
    case .roundRobin: nextInTurn(request, isPanic, isWeighted: false)
    case .weighted: nextInTurn(request, isPanic, isWeighted: true)
    case .leastConnections: leastLoaded(request, isPanic)
    case .powerOfTwo: betterOfTwo(request, isPanic)
    case .consistentHash: ring.owner(of: request.ringPosition) { isFit($0, request, isPanic) }
    }
  }

  private func isFit(_ index: Int, _ request: Request, _ isPanic: Bool) -> Bool {
    uncounted(backends[index]) { backend in
      let health = backend.health
      guard isPanic ? health.isLastResort : health.isEligible(at: request.nowMs) else { return false }
      return request.excluded & backend.bit == 0 && backend.hasRoom
    }
  }

  /// The next one in turn that is fit. Every look draws a ticket, so that the share of an unfit backend falls to all
  /// others and not to its successor alone. One that warms up lets some of its turns pass.
  private func nextInTurn(_ request: Request, _ isPanic: Bool, isWeighted: Bool) -> Int? {
    guard !backends.isEmpty else { return nil }
    let round = UInt64(isWeighted ? schedule.count : backends.count)
    for _ in 0..<2 * round {
      let ticket = nextTicket()
      let place = Int(ticket % round)
      let candidate = isWeighted ? Int(schedule[place]) : place
      guard isFit(candidate, request, isPanic) else { continue }
      let part = sixteenths(candidate, request)
      if isPanic || part == 16 || mix(ticket) & 15 < part { return candidate }
    }
    return backends.indices.first { isFit($0, request, isPanic) }
  }

  private func sixteenths(_ index: Int, _ request: Request) -> Int {
    uncounted(backends[index]) { $0.health.sixteenths(at: request.nowMs, policy: $0.policy) }
  }

  /// The fit one with the least load for its weight; begins at a place that moves on, so that equals take turns.
  private func leastLoaded(_ request: Request, _ isPanic: Bool) -> Int? {
    guard !backends.isEmpty else { return nil }
    var index = Int(nextTicket() % UInt64(backends.count))
    var best: Int?
    var bestLoad = Double.infinity
    for _ in 0..<backends.count {
      if isFit(index, request, isPanic) {
        let load = load(index, request)
        if load < bestLoad {
          best = index
          bestLoad = load
        }
      }
      index = index + 1 == backends.count ? 0 : index + 1
    }
    return best
  }

  /// Two different fit ones by chance, and of these the one with less load times latency.
  private func betterOfTwo(_ request: Request, _ isPanic: Bool) -> Int? {
    guard !backends.isEmpty else { return nil }
    let count = UInt64(backends.count)
    let bits = mix(request.random ^ nextTicket())
    let (low, high) = (((bits & 0xFFFF_FFFF) * count) >> 32, ((bits >> 32) * count) >> 32)
    guard let first = fit(from: Int(low), request, isPanic, except: -1) else { return nil }
    guard let second = fit(from: Int(high), request, isPanic, except: first) else { return first }
    return cost(second, request) < cost(first, request) ? second : first
  }

  private func fit(from start: Int, _ request: Request, _ isPanic: Bool, except: Int) -> Int? {
    var index = start
    for _ in 0..<backends.count {
      if index != except, isFit(index, request, isPanic) { return index }
      index = index + 1 == backends.count ? 0 : index + 1
    }
    return nil
  }

  /// Requests in flight, this one included, for each unit of the weight that it bears now; more by as much as its
  /// answers were bad lately.
  private func load(_ index: Int, _ request: Request) -> Double {
    uncounted(backends[index]) { backend in
      let part = backend.health.sixteenths(at: request.nowMs, policy: backend.policy)
      let bad = 1 + Double(Limits.badAnswerCost) * backend.badShare
      return Double((backend.inFlight + 1) * 16) / Double(backend.weight * part) * bad
    }
  }

  /// One that has not answered yet counts as fast, so that it is tried; one that has only answered badly does not.
  private func cost(_ index: Int, _ request: Request) -> Double {
    let latencyUs = uncounted(backends[index]) { backend in
      backend.latencyUs == 0 && backend.badShare > 0 ? Limits.unknownLatencyUs : backend.latencyUs
    }
    return load(index, request) * Double(max(latencyUs, 1))
  }

  /// Spreads a counter over all 64 bits (the finisher of SplitMix64).
  private func mix(_ value: UInt64) -> UInt64 {
    var z = value &+ 0x9E37_79B9_7F4A_7C15
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
