import Basics
@testable import Redis
import Testing

@Suite(.timeLimit(.minutes(5))) struct CircuitBreakerTests {
  @Test func opensAfterFailuresInARowAndTriesOnceEachTimeForTwiceAsLong() {
    var breaker = CircuitBreaker(failuresMax: 3, openSpan: .milliseconds(100), openSpanMax: .milliseconds(350))
    var now = MonotonicTime(nanoseconds: 0)
    for _ in 0..<10 {
      #expect(breaker.admits(at: now) == true)
      breaker.failed(at: now)
      breaker.failed(at: now)
      breaker.succeeded()
    }
    for _ in 0..<3 { breaker.failed(at: now) }
    for span in [100, 200, 350, 350] as [UInt64] {
      #expect(!breaker.isClosed)
      #expect(breaker.retryTime == now + .milliseconds(span))
      #expect(breaker.admits(at: now + .milliseconds(span - 1)) == false)
      now = now + .milliseconds(span)
      #expect(breaker.admits(at: now) == true)
      #expect(breaker.admits(at: now) == false, "a second attempt beside the first")
      breaker.failed(at: now)
    }
    now = now + .milliseconds(350)
    #expect(breaker.admits(at: now) == true)
    breaker.succeeded()
    #expect(breaker.isClosed)
    for _ in 0..<3 { breaker.failed(at: now) }
    #expect(breaker.retryTime == now + .milliseconds(100))
  }

  @Test func neverAdmitsWhileOpenAndAlwaysRecovers() {
    for seed in 0..<3000 {
      var random = SeededRandom(seed: UInt64(seed))
      var breaker = CircuitBreaker(failuresMax: 2, openSpan: .milliseconds(10), openSpanMax: .milliseconds(80))
      var now = MonotonicTime(nanoseconds: 0)
      var failuresInARow = 0
      var attempts = 0
      for _ in 0..<200 {
        now = now + .milliseconds(UInt64.random(in: 0...30, using: &random))
        if let retry = breaker.retryTime { #expect(failuresInARow >= 2 && retry <= now + .milliseconds(80)) }
        let mustRefuse = breaker.retryTime.map { now < $0 } ?? false
        if breaker.admits(at: now) {
          #expect(!mustRefuse)
          attempts += 1
          if Bool.random(using: &random) {
            breaker.succeeded()
            failuresInARow = 0
            #expect(breaker.isClosed)
          } else {
            breaker.failed(at: now)
            failuresInARow += 1
            #expect(breaker.isClosed == (failuresInARow < 2))
          }
        } else {
          #expect(mustRefuse)
        }
      }
      #expect(attempts > 20)
      now = now + .milliseconds(80)
      #expect(breaker.admits(at: now) == true)
      breaker.succeeded()
      #expect(breaker.isClosed && breaker.retryTime == nil)
    }
  }

  @Test func aLateSuccessDoesNotCloseAnOpenBreaker() {
    var breaker = CircuitBreaker(failuresMax: 1)
    let now = MonotonicTime(nanoseconds: 0)
    breaker.failed(at: now)
    breaker.succeeded()
    #expect(!breaker.isClosed)
    #expect(breaker.admits(at: now) == false)
  }
}
