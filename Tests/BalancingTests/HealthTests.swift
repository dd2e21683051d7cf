@testable import Balancing
import Basics
import Testing

private func backend(_ change: (inout HealthPolicy) -> Void = { _ in }) -> Backend {
  var policy = HealthPolicy()
  change(&policy)
  return Backend(name: "a", slot: 0, policy: policy)
}

@Suite(.timeLimit(.minutes(5))) struct HealthTests {
  @Test func aNewBackendGetsNoTrafficBeforeItsFirstGoodCheck() {
    let backend = backend()
    #expect(backend.state(at: 0) == .unchecked)
    backend.checkFailed(at: 1)
    backend.order(.ready)
    #expect(!backend.health.isEligible(at: 2))
    #expect(!backend.health.isLastResort)
    backend.checkPassed(at: 3)
    #expect(backend.state(at: 3) == .up)
    #expect(backend.health.isEligible(at: 3))
  }

  @Test func checksFallAndRiseByRuns() {
    let backend = backend()
    backend.checkPassed(at: 1)
    for _ in 0..<10 {
      backend.checkFailed(at: 2)
      backend.checkPassed(at: 2)
    }
    #expect(backend.state(at: 2) == .up)
    for _ in 0..<2 { backend.checkFailed(at: 3) }
    #expect(backend.state(at: 3) == .down)
    for _ in 0..<10 {
      backend.checkPassed(at: 4)
      backend.checkFailed(at: 4)
    }
    #expect(backend.state(at: 4) == .down)
    backend.checkPassed(at: 5)
    backend.checkPassed(at: 5)
    #expect(backend.state(at: 5) == .warming)
    #expect(backend.state(at: 10_005) == .up)
  }

  @Test func failedRequestsEjectForLongerEachTimeUntilForgotten() {
    let backend = backend()
    backend.checkPassed(at: 0)
    var now: UInt64 = 1000
    for round in 1...20 {
      for _ in 0..<5 {
        _ = backend.requestStarted()
        backend.requestFailed(at: now)
      }
      let lasts = min(UInt64(round) * 5000, 60_000)
      #expect(backend.state(at: now) == .ejected)
      #expect(backend.state(at: now + lasts - 1) == .ejected)
      #expect(backend.state(at: now + lasts) == .warming)
      now += lasts
    }
    backend.checkPassed(at: now + 60_000)
    for _ in 0..<5 {
      _ = backend.requestStarted()
      backend.requestFailed(at: now + 60_000)
    }
    #expect(backend.state(at: now + 64_999) == .ejected)
    #expect(backend.health.isEligible(at: now + 65_000))
    #expect(backend.errors == 105)
    #expect(backend.inFlight == 0)
  }

  @Test func oneAnswerForgivesTheErrorsBeforeIt() {
    let backend = backend()
    backend.checkPassed(at: 0)
    for _ in 0..<100 {
      for _ in 0..<4 {
        _ = backend.requestStarted()
        backend.requestFailed(at: 1)
      }
      _ = backend.requestStarted()
      backend.requestAnswered(latencyUs: 100)
    }
    #expect(backend.state(at: 1) == .up)
  }

  @Test func drainAndDownTakeNothingNewUntilOrderedBack() {
    let backend = backend()
    backend.checkPassed(at: 0)
    backend.order(.drain)
    #expect(backend.state(at: 1) == .draining && !backend.health.isEligible(at: 1))
    #expect(!backend.health.isLastResort)
    backend.order(.down)
    #expect(backend.state(at: 1) == .disabled && !backend.health.isEligible(at: 1))
    backend.order(.ready)
    #expect(backend.health.isEligible(at: 1))
  }

  @Test func noOrderOfEventsMakesAnUnfitBackendEligible() {
    for seed in 0..<5000 {
      var random = SeededRandom(seed: UInt64(seed))
      let backend = backend()
      var everPassed = false
      var order = Health.Order.ready
      var failuresInARow = 0
      var now: UInt64 = 0
      for _ in 0..<100 {
        now += UInt64.random(in: 0...20_000, using: &random)
        switch Int.random(in: 0..<12, using: &random) {
        case 0..<4:
          backend.checkPassed(at: now)
          everPassed = true
          failuresInARow = 0
        case 4..<8:
          backend.checkFailed(at: now)
          failuresInARow += 1
        case 8..<10:
          _ = backend.requestStarted()
          backend.requestFailed(at: now)
        case 10:
          _ = backend.requestStarted()
          backend.requestAnswered(latencyUs: 5)
        default:
          order = [.ready, .ready, .drain, .down].randomElement(using: &random)!
          backend.order(order)
        }
        if backend.health.isEligible(at: now) {
          #expect(everPassed && order == .ready && failuresInARow < 3)
          #expect((1...16).contains(backend.health.sixteenths(at: now, policy: backend.policy)))
        }
      }
      #expect(backend.inFlight == 0)
    }
  }

  @Test func reactorsCountTogether() {
    let backend = backend()
    backend.checkPassed(at: 0)
    runThreads(4) { _ in
      for _ in 0..<10_000 {
        _ = backend.requestStarted()
        backend.requestAnswered(latencyUs: 10)
        _ = backend.requestStarted()
        backend.requestAbandoned()
      }
    }
    #expect(backend.inFlight == 0)
    #expect(backend.requests == 80_000)
    #expect(backend.latencyUs == 10)
  }
}

@Suite(.timeLimit(.minutes(5))) struct RetryBudgetTests {
  @Test func retriesStayWithinAFifthOfTheRequestsAndTheReserve() {
    for seed in 0..<500 {
      var random = SeededRandom(seed: UInt64(seed))
      let budget = RetryBudget(percent: 20)
      var requests = 0
      var retries = 0
      for _ in 0..<2000 {
        if Bool.random(using: &random) {
          budget.requestStarted()
          requests += 1
        } else if budget.takeRetry() {
          retries += 1
        }
        #expect(retries <= RetryBudget.reserve + requests / 5)
      }
      #expect(retries > 50)
    }
  }

  @Test func savingsAreBoundedAndZeroPercentForbidsRetries() {
    let budget = RetryBudget(percent: 100)
    for _ in 0..<10_000 { budget.requestStarted() }
    var retries = 0
    while budget.takeRetry() { retries += 1 }
    #expect(retries == RetryBudget.savedMax)
    let none = RetryBudget(percent: 0)
    for _ in 0..<1000 { none.requestStarted() }
    #expect(!none.takeRetry())
  }
}

@Suite(.timeLimit(.minutes(5))) struct IdleLifetimeTests {
  @Test func theLastFifthOfWhatABackendKeepsIsLeftUnused() {
    let lifetime = IdleLifetime()
    #expect(lifetime.usableMs == .max)
    lifetime.closed(afterMs: 5000)
    #expect(lifetime.usableMs == 4000)
    lifetime.closed(afterMs: 9000)
    #expect(lifetime.usableMs == 4000)
    lifetime.announced(3)
    #expect(lifetime.usableMs == 2400)
  }

  @Test func aRestartThatClosesYoungConnectionsTeachesNothing() {
    let lifetime = IdleLifetime()
    lifetime.closed(afterMs: 3)
    #expect(lifetime.usableMs == .max)
    // One that was a little older is believed until a connection proves it wrong.
    lifetime.closed(afterMs: 1500)
    lifetime.survived(20_000)
    #expect(lifetime.usableMs == 16_000)
  }
}

@Suite(.timeLimit(.minutes(5))) struct LostConnectionTests {
  private func ejected(isLost: Bool) -> Backend {
    let backend = Backend(name: "b", slot: 0, isTrusted: true)
    for _ in 0..<5 {
      _ = backend.requestStarted()
      backend.requestFailed(at: 1000, isLost: isLost)
    }
    return backend
  }

  @Test func aPassingCheckEndsAnEjectionThatCameFromLostConnectionsOnly() {
    let restarted = ejected(isLost: true)
    #expect(restarted.state(at: 1001) == .ejected)
    restarted.checkPassed(at: 1100)
    #expect(restarted.health.isEligible(at: 1100))
    let broken = ejected(isLost: false)
    broken.checkPassed(at: 1100)
    #expect(broken.state(at: 1101) == .ejected)
  }

  @Test func oneOtherFailureAmongThemMakesItAnEjectionLikeAnyOther() {
    let backend = Backend(name: "b", slot: 0, isTrusted: true)
    for number in 0..<5 {
      _ = backend.requestStarted()
      backend.requestFailed(at: 1000, isLost: number != 2)
    }
    backend.checkPassed(at: 1100)
    #expect(backend.state(at: 1101) == .ejected)
  }
}
