@testable import Balancing
import Basics
import Glibc
import Synchronization
import Testing

private func client(_ number: Int) -> ClientKey { ClientKey(ipv4: UInt32(number)) }

@Suite(.timeLimit(.minutes(5))) struct RateLimiterTests {
  @Test func neverMoreThanTheQuotaInAWindowNorASecondBurstOverItsEdge() {
    for seed in 0..<1000 {
      var random = SeededRandom(seed: UInt64(seed))
      let quota = Int.random(in: 1...50, using: &random)
      let window = UInt64.random(in: 10...1000, using: &random)
      let limiter = RateLimiter(quota: quota, windowMs: window, capacity: 8, seed: random.next())
      var passed: [UInt64] = []
      var now = UInt64.random(in: 0...1_000_000, using: &random)
      for _ in 0..<400 {
        now += Bool.random(using: &random) ? 0 : UInt64.random(in: 0...window / 8, using: &random)
        let decision = limiter.admit(client(1), at: now)
        if decision.isAllowed { passed.append(now) }
        #expect((0...quota).contains(decision.remaining))
        #expect(decision.resetSeconds >= 1)
      }
      for start in Set(passed.map { $0 / window * window }) {
        let current = passed.filter { $0 >= start && $0 < start + window }
        #expect(current.count <= quota)
        // At each moment of a window: what passed in it so far, and the part of the one before that still weighs.
        let previous = start < window ? 0 : passed.filter { $0 >= start - window && $0 < start }.count
        for (index, time) in current.enumerated() {
          let weighed = Double(previous) * Double(window - (time - start)) / Double(window)
          #expect(Double(index + 1) + weighed <= Double(quota) + 1e-6)
        }
      }
    }
  }

  @Test func aSteadyClientUnderTheQuotaIsNeverRefused() {
    for seed in 0..<300 {
      var random = SeededRandom(seed: UInt64(seed))
      let quota = Int.random(in: 4...100, using: &random)
      let limiter = RateLimiter(quota: quota, windowMs: 60_000, capacity: 8, seed: 1)
      let gap = 60_000 / UInt64(quota - 2) + 1
      var now = UInt64.random(in: 0...100_000, using: &random)
      for _ in 0..<500 {
        #expect(limiter.admit(client(1), at: now).isAllowed)
        now += gap
      }
    }
  }

  @Test func afterTheToldWaitTheNextRequestIsLetThrough() {
    for seed in 0..<3000 {
      var random = SeededRandom(seed: UInt64(seed))
      let quota = Int.random(in: 1...40, using: &random)
      let limiter = RateLimiter(quota: quota, windowMs: 10_000, capacity: 8, seed: 1)
      var now = UInt64.random(in: 0...100_000, using: &random)
      for _ in 0..<200 {
        let decision = limiter.admit(client(1), at: now)
        if decision.isAllowed {
          now += UInt64.random(in: 0...400, using: &random)
        } else {
          #expect(limiter.usage(of: client(1), at: now)?.resetSeconds == decision.resetSeconds)
          now += UInt64(decision.resetSeconds) * 1000
          #expect(limiter.admit(client(1), at: now).isAllowed)
        }
      }
    }
  }

  @Test func remainingCountsDownAndClientsDoNotShare() {
    let limiter = RateLimiter(quota: 100, windowMs: 60_000, seed: 1)
    for number in 0..<100 {
      let decision = limiter.admit(client(1), at: 120_000)
      #expect(decision.isAllowed && decision.remaining == 99 - number && decision.resetSeconds == 60)
    }
    #expect(!limiter.admit(client(1), at: 120_001).isAllowed)
    #expect(limiter.admit(client(2), at: 120_001).remaining == 99)
    #expect(limiter.activeCount(at: 120_001) == 2)
    #expect(limiter.usage(of: client(1), at: 120_001)?.requests == 100)
    #expect(limiter.activeCount(at: 300_000) == 0)
    #expect(limiter.usage(of: client(3), at: 120_001) == nil)
  }

  @Test func severalThreadsTogetherLetExactlyTheQuotaThrough() {
    for round in 0..<10 {
      // A full small table as well, so that clients enter and evict each other while others count.
      let limiter = RateLimiter(quota: 1000, windowMs: 1_000_000, capacity: 8, seed: UInt64(round))
      let passed = (0..<8).map { _ in Counted() }
      runThreads(4) { thread in
        for request in 0..<8 * 400 {
          let number = (request + thread) % 8
          if limiter.admit(client(number), at: 5).isAllowed { passed[number].number.add(1, ordering: .relaxed) }
        }
      }
      for count in passed { #expect(count.number.load(ordering: .relaxed) == 1000) }
    }
  }

  @Test func aFullTableEvictsTheOldestClient() {
    let limiter = RateLimiter(quota: 5, windowMs: 1000, capacity: 8, seed: 3)
    for number in 1...8 { for _ in 0..<5 { _ = limiter.admit(client(number), at: number == 3 ? 0 : 1000) } }
    #expect(limiter.admit(client(9), at: 1001).remaining == 4)
    #expect(limiter.usage(of: client(3), at: 1001) == nil)
    for number in [1, 2, 4, 5, 6, 7, 8] { #expect(!limiter.admit(client(number), at: 1002).isAllowed) }
  }

  @Test func aReactorWithAnEarlierTimeDoesNotTurnTheWindowBack() {
    let limiter = RateLimiter(quota: 10, windowMs: 1000, seed: 1)
    for _ in 0..<10 { #expect(limiter.admit(client(1), at: 5000).isAllowed) }
    #expect(!limiter.admit(client(1), at: 3999).isAllowed)
    #expect(!limiter.admit(client(1), at: 4999).isAllowed)
    #expect(!limiter.admit(client(1), at: 5001).isAllowed)
  }

  @Test func zeroTurnsItOffAndAQuotaPastTheCounterNeverLimits() {
    let off = RateLimiter(quota: 0, windowMs: 1000, seed: 1)
    let wide = RateLimiter(quota: Limits.rateCountMax + 1, windowMs: 1000, seed: 1)
    for _ in 0..<1000 { #expect(off.admit(client(1), at: 5).isAllowed) }
    let refused = (0...Limits.rateCountMax + 10).first { _ in !wide.admit(client(1), at: 5).isAllowed }
    #expect(refused == nil)
    #expect(off.activeCount(at: 5) == 0)
  }

  @Test func networksAreCountedAsOneAndMappedAddressesAsIPv4() {
    #expect(ClientKey(ipv6: 0x2001_0DB8_0001_0002, 1) == ClientKey(ipv6: 0x2001_0DB8_0001_0002, 99))
    #expect(ClientKey(ipv6: 0x2001_0DB8_0001_0002, 1).text == "2001:db8:1:2::/64")
    #expect(ClientKey(ipv6: 0, 0xFFFF_C000_0201) == ClientKey(ipv4: 0xC000_0201))
    #expect(ClientKey(ipv4: 0xC000_0201).text == "192.0.2.1")
    #expect(ClientKey(ipv6: 0, 1).text == "::/64")
    #expect(ClientKey(ipv6: 0, 1) != ClientKey(ipv4: 1))
  }
}

private final class Counted: Sendable {
  let number = Atomic<Int>(0)
}

/// Runs `body` on `count` real threads at once and waits for them.
func runThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
  final class Start {
    let run: () -> Void
    init(_ run: @escaping () -> Void) { self.run = run }
  }
  let threads = (0..<count).map { index in
    var thread = pthread_t()
    let start = Unmanaged.passRetained(Start { body(index) })
    let code = pthread_create(
      &thread, nil,
      { argument in
        Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue().run()
        return nil
      }, start.toOpaque())
    precondition(code == 0, "no thread")
    return thread
  }
  for thread in threads { pthread_join(thread, nil) }
}
