import Basics
@testable import Caching
import Testing

private func time(_ tick: Int) -> MonotonicTime { MonotonicTime(nanoseconds: UInt64(tick)) }

/// Hashes so badly that every second key collides.
private struct Clumsy: Hashable {
  let number: Int
  func hash(into hasher: inout Hasher) { hasher.combine(number % 2) }
}

@Suite(.timeLimit(.minutes(5))) struct S3FIFOTests {
  @Test func neverAnswersWithAnythingButTheLastGoodValueOfThatKey() {
    for seed in 0..<2000 {
      var random = SeededRandom(seed: UInt64(seed))
      let entriesMax = Int.random(in: 1...12, using: &random)
      let bytesMax = Int.random(in: 1...60, using: &random)
      var cache = S3FIFO<Clumsy, Int>(entriesMax: entriesMax, bytesMax: bytesMax)
      var model: [Clumsy: (value: Int, expiry: Int)] = [:]
      var hits = 0
      for tick in 0..<300 {
        let key = Clumsy(number: Int.random(in: 0..<20, using: &random))
        switch Int.random(in: 0..<20, using: &random) {
        case 0..<9:
          let found = cache.value(for: key, at: time(tick))
          if let found {
            hits += 1
            #expect(found.value == model[key]?.value)
            #expect(model[key]!.expiry > tick)
            #expect(found.expiry == time(model[key]!.expiry))
          }
        case 9..<18:
          let bytes = Int.random(in: 0...20, using: &random)
          let expiry = tick + Int.random(in: 0...80, using: &random)
          cache.set(tick, for: key, bytes: bytes, expiry: time(expiry), at: time(tick))
          model[key] = expiry > tick && bytes <= bytesMax ? (tick, expiry) : nil
        default:
          if cache.remove(key) { #expect(model[key] != nil) }
          model[key] = nil
        }
        #expect(cache.count <= entriesMax)
        #expect(cache.bytes <= bytesMax && cache.bytes >= 0)
        #expect(cache.count <= model.count)
      }
      #expect(cache.statistics.hits == hits)
      cache.removeAll()
      #expect(cache.count == 0 && cache.bytes == 0)
    }
  }

  @Test func whatFitsStaysUntilItExpires() {
    var cache = S3FIFO<Int, Int>(entriesMax: 100, bytesMax: 1000)
    for key in 0..<100 { cache.set(key, for: key, bytes: 10, expiry: time(50 + key), at: time(0)) }
    for key in 0..<100 { #expect(cache.value(for: key, at: time(49))?.value == key) }
    for key in 0..<100 { #expect((cache.value(for: key, at: time(100)) != nil) == (key > 50)) }
    #expect(cache.statistics.expirations == 51)
    #expect(cache.statistics.evictions == 0)
    #expect(cache.statistics.hitRate == 149.0 / 200)
  }

  @Test func aScanDoesNotDriveOutWhatIsUsed() {
    var cache = S3FIFO<Int, Int>(entriesMax: 1000, bytesMax: .max)
    for round in 0..<3 {
      for key in 0..<500 where cache.value(for: key, at: time(0)) == nil {
        cache.set(round, for: key, bytes: 1, expiry: .never, at: time(0))
      }
    }
    for key in 10_000..<30_000 { cache.set(0, for: key, bytes: 1, expiry: .never, at: time(0)) }
    let kept = (0..<500).filter { cache.value(for: $0, at: time(0)) != nil }.count
    #expect(kept == 500)
  }

  @Test func aValueLargerThanTheCacheIsNotKeptAndReplacesNothing() {
    var cache = S3FIFO<Int, Int>(entriesMax: 10, bytesMax: 100)
    cache.set(1, for: 1, bytes: 100, expiry: .never, at: time(0))
    #expect(cache.value(for: 1, at: time(0))?.value == 1)
    cache.set(2, for: 1, bytes: 101, expiry: .never, at: time(0))
    #expect(cache.value(for: 1, at: time(0)) == nil)
  }
}
