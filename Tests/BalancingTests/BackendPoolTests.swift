@testable import Balancing
import Basics
import Testing

/// FNV-1a with a finisher: spreads well enough for a ring in a test.
private func digest(_ bytes: [UInt8]) -> UInt64 {
  var z = bytes.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
  z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
  z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
  return z ^ (z >> 31)
}

/// A ring costs most of a pool's making; tests of many pools that do not use it take a digest that is free.
private func pool(
  _ weights: [Int], panicPercent: Int = 0, digest: ([UInt8]) -> UInt64 = digest
) -> BackendPool {
  BackendPool(
    weights.enumerated().map { Backend(name: "b\($0)", slot: $0, weight: $1, isTrusted: true) },
    panicPercent: panicPercent, digest: digest)
}

private func counts(_ pool: BackendPool, _ strategy: Strategy, _ requests: Int, nowMs: UInt64 = 0) -> [Int] {
  var random = SeededRandom(seed: 1)
  var counts = [Int](repeating: 0, count: pool.backends.count)
  for _ in 0..<requests {
    let request = BackendPool.Request(nowMs: nowMs, random: random.next(), ringPosition: random.next())
    if let index = pool.choose(strategy, request) { counts[index] += 1 }
  }
  return counts
}

@Suite(.timeLimit(.minutes(5))) struct BackendPoolTests {
  @Test func namesAreReadWithEitherSeparatorInEitherCase() {
    #expect(Strategy(name: "least-connections") == .leastConnections)
    #expect(Strategy(name: "Round_Robin") == .roundRobin)
    #expect(Strategy(name: "power-of-two") == .powerOfTwo)
    #expect(Strategy(name: "fastest") == nil)
    for name in Strategy.names { #expect(Strategy(name: name)?.rawValue == name) }
  }

  @Test func roundRobinIsFairAlsoBesideAnUnfitBackend() {
    let pool = pool([1, 1, 1])
    #expect(counts(pool, .roundRobin, 300) == [100, 100, 100])
    pool.backends[1].order(.down)
    #expect(counts(pool, .roundRobin, 300) == [150, 0, 150])
  }

  @Test func weightedServesExactlyByWeightAndSpreadsTheTurns() {
    let pool = pool([5, 1, 1])
    var order: [Int] = []
    for _ in 0..<7 { order.append(pool.choose(.weighted, .init(nowMs: 0))!) }
    // The sequence that nginx documents for smooth weighted round robin.
    #expect(order == [0, 0, 1, 0, 2, 0, 0])
    #expect(counts(pool, .weighted, 700) == [500, 100, 100])
    pool.backends[0].order(.drain)
    #expect(counts(pool, .weighted, 700) == [0, 350, 350])
  }

  @Test func leastConnectionsTakesTheLeastLoadedForItsWeight() {
    for seed in 0..<500 {
      var random = SeededRandom(seed: UInt64(seed))
      let weights = (0..<Int.random(in: 1...9, using: &random)).map { _ in Int.random(in: 1...5, using: &random) }
      let pool = pool(weights, digest: { _ in 0 })
      for _ in 0..<Int.random(in: 0...40, using: &random) {
        _ = pool.backends.randomElement(using: &random)!.requestStarted()
      }
      let chosen = pool.backends[pool.choose(.leastConnections, .init(nowMs: 0))!]
      for other in pool.backends {
        #expect((chosen.inFlight + 1) * other.weight <= (other.inFlight + 1) * chosen.weight)
      }
    }
    #expect(counts(pool([1, 1, 1]), .leastConnections, 300) == [100, 100, 100])
  }

  @Test func powerOfTwoNeverTakesTheWorstAndReachesAllOthers() {
    let pool = pool([1, 1, 1, 1])
    for backend in pool.backends {
      _ = backend.requestStarted()
      backend.requestAnswered(latencyUs: backend.slot == 2 ? 9000 : 100)
    }
    let counts = counts(pool, .powerOfTwo, 4000)
    #expect(counts[2] == 0)
    #expect(counts.filter { $0 > 800 }.count == 3)
  }

  @Test func onlyKeysOfALostBackendMove() {
    let pool = pool([1, 1, 1, 1, 1])
    var random = SeededRandom(seed: 5)
    let keys = (0..<5000).map { _ in random.next() }
    let before = keys.map { pool.choose(.consistentHash, .init(nowMs: 0, ringPosition: $0))! }
    pool.backends[3].order(.down)
    for (key, owner) in zip(keys, before) {
      let after = pool.choose(.consistentHash, .init(nowMs: 0, ringPosition: key))!
      #expect(owner == 3 ? after != 3 : after == owner)
    }
  }

  @Test func theRingDependsOnNamesNotOnTheirOrder() {
    let names = (0..<10).map { "server-\($0)" }
    let ring = HashRing(names: names, digest: digest)
    let reversed = HashRing(names: names.reversed(), digest: digest)
    var random = SeededRandom(seed: 9)
    for _ in 0..<5000 {
      let position = random.next()
      #expect(names[ring.owner(of: position)!] == names.reversed()[reversed.owner(of: position)!])
    }
    #expect(abs(ring.shares.reduce(0, +) - 1) < 1e-9)
    for share in ring.shares { #expect((0.06...0.14).contains(share)) }
    #expect(HashRing(names: [], digest: digest).owner(of: 1) == nil)
    #expect(HashRing(names: ["one"], virtualNodes: 1, digest: digest).owner(of: 1) == 0)
  }

  @Test(arguments: Strategy.allCases)
  func everyStrategyChoosesOnlyFitOnesAndAvoidsTheFailedOne(strategy: Strategy) {
    for seed in 0..<200 {
      var random = SeededRandom(seed: UInt64(seed))
      let backends = (0..<Int.random(in: 0...7, using: &random)).map {
        Backend(name: "b\($0)", slot: $0, weight: Int.random(in: 1...4, using: &random))
      }
      for backend in backends where Int.random(in: 0..<4, using: &random) > 0 { backend.checkPassed(at: 0) }
      for backend in backends where Int.random(in: 0..<4, using: &random) == 0 { backend.order(.drain) }
      let pool = BackendPool(backends, digest: digest)
      let fit = backends.indices.filter { backends[$0].health.isEligible(at: 1) }
      for _ in 0..<20 {
        let excluded = random.next() & random.next()
        let open = fit.filter { excluded & backends[$0].bit == 0 }
        let request = BackendPool.Request(
          nowMs: 1, random: random.next(), ringPosition: random.next(), excluded: excluded)
        guard let chosen = pool.choose(strategy, request) else {
          #expect(open.isEmpty)
          continue
        }
        #expect(open.contains(chosen))
      }
    }
  }

  @Test(arguments: Strategy.allCases)
  func whenNoneIsFitThoseOnceSeenAliveAreTried(strategy: Strategy) {
    let backends = (0..<3).map { Backend(name: "b\($0)", slot: $0) }
    let pool = BackendPool(backends, digest: digest)
    #expect(counts(pool, strategy, 10) == [0, 0, 0])
    for backend in backends.prefix(2) {
      backend.checkPassed(at: 0)
      for _ in 0..<3 { backend.checkFailed(at: 0) }
    }
    let tried = counts(pool, strategy, 100)
    #expect(tried[0] > 0 && tried[1] > 0 && tried[2] == 0)
  }

  @Test func panicSpreadsOverAllWhenTooFewAreFit() {
    let pool = pool([1, 1, 1, 1], panicPercent: 50)
    for backend in pool.backends.prefix(2) { for _ in 0..<3 { backend.checkFailed(at: 0) } }
    #expect(counts(pool, .roundRobin, 400) == [0, 0, 200, 200])
    for _ in 0..<3 { pool.backends[2].checkFailed(at: 0) }
    #expect(counts(pool, .roundRobin, 400) == [100, 100, 100, 100])
  }

  @Test func aBackendThatCameBackGetsAGrowingShare() {
    let pool = pool([1, 1])
    for _ in 0..<3 { pool.backends[0].checkFailed(at: 1000) }
    for _ in 0..<2 { pool.backends[0].checkPassed(at: 2000) }
    var last = 0
    for age in [0, 3000, 6000, 9000] as [UInt64] {
      for strategy in [Strategy.roundRobin, .weighted] {
        let share = counts(pool, strategy, 4000, nowMs: 2000 + age)[0]
        #expect(share > 0 && share < 2000)
        if strategy == .roundRobin {
          #expect(share > last)
          last = share
        }
      }
    }
    #expect(counts(pool, .roundRobin, 4000, nowMs: 12_001) == [2000, 2000])
  }

  @Test(arguments: [Strategy.leastConnections, .powerOfTwo])
  func aBackendThatIsFastAtRefusingGetsNoMoreForIt(strategy: Strategy) {
    let backends = (0..<3).map { Backend(name: "b\($0)", slot: $0, isTrusted: true) }
    let pool = BackendPool(backends, digest: digest)
    var random = SeededRandom(seed: 7)
    var given = [0, 0, 0]
    for _ in 0..<3000 {
      let index = pool.choose(strategy, BackendPool.Request(nowMs: 1, random: random.next()))!
      given[index] += 1
      #expect(backends[index].requestStarted())
      // The first one says 503 in a tenth of the time that the others take for an answer.
      backends[index].requestAnswered(latencyUs: index == 0 ? 100 : 1000, isBad: index == 0)
    }
    #expect(given[0] < given[1] / 2 && given[0] < given[2] / 2, "\(given)")
    #expect(backends[0].errors == given[0] && backends[0].latencyUs == 0)
    // A passing check lets it be tried again.
    for _ in 0..<20 { backends[0].checkPassed(at: 2) }
    let again = (0..<300).filter { _ in
      pool.choose(strategy, BackendPool.Request(nowMs: 2, random: random.next())) == 0
    }
    #expect(again.count > 50)
  }

  @Test(arguments: Strategy.allCases)
  func aFullBackendIsWaitedForRatherThanASickOneAsked(strategy: Strategy) {
    let full = Backend(name: "full", slot: 0, inFlightMax: 1, isTrusted: true)
    let sick = Backend(name: "sick", slot: 1, isTrusted: true)
    for _ in 0..<3 { sick.checkFailed(at: 1) }
    let pool = BackendPool([full, sick], digest: digest)
    #expect(full.requestStarted())
    #expect(!full.requestStarted() && full.inFlight == 1)
    #expect(pool.choose(strategy, BackendPool.Request(nowMs: 1)) == nil)
    // Once the one that is well was tried in vain, the other is better than nothing.
    #expect(pool.choose(strategy, BackendPool.Request(nowMs: 1, excluded: full.bit)) == 1)
    full.requestAbandoned()
    #expect(pool.choose(strategy, BackendPool.Request(nowMs: 1)) == 0)
  }
}
