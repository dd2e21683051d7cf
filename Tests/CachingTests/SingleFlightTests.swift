import Basics
import Caching
import Testing

@Suite struct SingleFlightTests {
  @Test func everyCallerIsAnsweredOnceAndNoStaleResultIsStored() {
    for seed in 0..<2000 {
      var random = SeededRandom(seed: UInt64(seed))
      var table = SingleFlight<Int, Int>()
      // What a load that began at a version would return, and what is stored.
      var version = [Int](repeating: 0, count: 4)
      var stored = [Int](repeating: 0, count: 4)
      var loads: [(key: Int, flight: SingleFlight<Int, Int>.Flight, loaded: Int)] = []
      var waiting: [Int: Int] = [:]
      for caller in 0..<100 {
        let key = Int.random(in: 0..<4, using: &random)
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<6:
          switch table.join(key) {
          case .lead(let flight): loads.append((key, flight, version[key]))
          case .follow(let flight):
            table.wait(caller, for: flight)
            waiting[caller] = version[key]
          case .refused: Issue.record("a short queue refused")
          }
        case 6..<7:
          version[key] += 1
          stored[key] = version[key]
          table.invalidate(key)
        default:
          guard !loads.isEmpty else { continue }
          let load = loads.remove(at: Int.random(in: 0..<loads.count, using: &random))
          let landing = table.land(load.flight)
          if landing.mayStore { stored[load.key] = load.loaded }
          // Nobody is told a value older than the newest change before they asked.
          for waiter in landing.waiters { #expect(waiting.removeValue(forKey: waiter)! <= load.loaded) }
        }
        #expect(stored == version)
        #expect(table.count == loads.count)
      }
      for load in loads { table.land(load.flight).waiters.forEach { waiting[$0] = nil } }
      #expect(waiting.isEmpty)
      #expect(table.count == 0)
    }
  }

  @Test func aThousandCallersMakeOneLoad() {
    var table = SingleFlight<String, Int>()
    guard case .lead(let flight) = table.join("k") else {
      Issue.record("nobody leads")
      return
    }
    for caller in 0..<1000 {
      #expect(table.join("k") == .follow(flight))
      table.wait(caller, for: flight)
    }
    #expect(table.land(flight).waiters == Array(0..<1000))
  }

  @Test func invalidatingAPrefixPartsOnlyItsLoads() {
    var table = SingleFlight<String, Int>()
    guard case .lead(let first) = table.join("a:1"), case .lead(let second) = table.join("b:1") else {
      Issue.record("nobody leads")
      return
    }
    table.invalidateAll { $0.hasPrefix("a:") }
    #expect(!table.land(first).mayStore)
    #expect(table.land(second).mayStore)
  }

  @Test func waitersAreBounded() {
    var table = SingleFlight<Int, Int>()
    guard case .lead(let flight) = table.join(1) else {
      Issue.record("nobody leads")
      return
    }
    for caller in 0..<Limits.waitersPerFlightMax { table.wait(caller, for: flight) }
    #expect(table.join(1) == .refused)
  }
}
