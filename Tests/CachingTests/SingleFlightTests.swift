import Basics
@testable import Caching
import Testing

@Suite(.timeLimit(.minutes(5))) struct SingleFlightTests {
  @Test func everyCallerIsAnsweredOnceByTheLoadItWaitsFor() {
    for seed in 0..<2000 {
      var random = SeededRandom(seed: UInt64(seed))
      var table = SingleFlight<Int, Int>()
      var loads: [Int] = []
      var waiting: [Int: Int] = [:]
      for caller in 0..<100 {
        let key = Int.random(in: 0..<4, using: &random)
        if Int.random(in: 0..<10, using: &random) < 7 {
          switch table.join(key) {
          case .lead:
            #expect(!loads.contains(key))
            loads.append(key)
          case .follow:
            table.wait(caller, for: key)
            waiting[caller] = key
          case .refused: Issue.record("a short queue refused")
          }
        } else if !loads.isEmpty {
          let landed = loads.remove(at: Int.random(in: 0..<loads.count, using: &random))
          for waiter in table.land(landed) { #expect(waiting.removeValue(forKey: waiter) == landed) }
          #expect(!waiting.values.contains(landed))
        }
        #expect(table.count == loads.count)
      }
    }
  }

  @Test func aThousandCallersMakeOneLoad() {
    var table = SingleFlight<String, Int>()
    #expect(table.join("k") == .lead)
    for caller in 0..<1000 {
      #expect(table.join("k") == .follow)
      table.wait(caller, for: "k")
    }
    #expect(table.land("k") == Array(0..<1000))
    #expect(table.join("k") == .lead)
  }

  @Test func waitersAreBounded() {
    var table = SingleFlight<Int, Int>()
    #expect(table.join(1) == .lead)
    for caller in 0..<Limits.waitersPerFlightMax { table.wait(caller, for: 1) }
    #expect(table.join(1) == .refused)
  }
}
