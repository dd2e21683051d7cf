import Basics
@testable import Caching
import Testing

@Suite(.timeLimit(.minutes(5))) struct SingleFlightTests {
  private typealias Table = SingleFlight<Int, Int>

  /// The flight that the caller of `role` leads.
  private static func led(_ role: Table.Role) -> Table.Flight? {
    if case .lead(let flight) = role { flight } else { nil }
  }

  @Test func everyCallerIsAnsweredOnceByALoadThatBeganBeforeNoChangeThatItKnowsOf() {
    for seed in 0..<2000 {
      var random = SeededRandom(seed: UInt64(seed))
      var table = Table()
      // What each load would have found, by the number of changes that its key had when it began.
      var loads: [(flight: Table.Flight, key: Int, changes: Int)] = []
      var changes = [Int](repeating: 0, count: 4)
      var waiting: [Int: (key: Int, changes: Int)] = [:]
      func answer(_ waiters: [Int], _ load: (flight: Table.Flight, key: Int, changes: Int)) {
        for waiter in waiters {
          let asked = waiting.removeValue(forKey: waiter)
          #expect(asked?.key == load.key && (asked?.changes ?? .max) <= load.changes, "seed \(seed)")
        }
      }
      for caller in 0..<200 {
        let key = Int.random(in: 0..<4, using: &random)
        switch Int.random(in: 0..<20, using: &random) {
        case 0..<12:
          switch table.join(key) {
          case .lead(let flight):
            #expect(!loads.contains { $0.key == key && !table.isOvertaken($0.flight) })
            loads.append((flight, key, changes[key]))
          case .follow(let flight):
            table.wait(caller, for: flight)
            waiting[caller] = (key, changes[key])
          case .refused: Issue.record("a short queue refused")
          }
        case 12..<15:
          changes[key] += 1
          table.overtake(key)
        case 15:
          for key in changes.indices { changes[key] += 1 }
          table.overtakeAll()
        case 16..<19 where !loads.isEmpty:
          let load = loads.remove(at: Int.random(in: 0..<loads.count, using: &random))
          #expect(table.isOvertaken(load.flight) == (load.changes < changes[load.key]))
          answer(table.land(load.flight), load)
        case 19 where !loads.isEmpty:
          let index = Int.random(in: 0..<loads.count, using: &random)
          switch table.fail(loads[index].flight) {
          // It reads anew, and yet it is the same flight: what has changed meanwhile is not kept.
          case .elected(let waiter): #expect(waiting.removeValue(forKey: waiter)?.key == loads[index].key)
          case .over(let waiters): answer(waiters, loads.remove(at: index))
          }
        default: break
        }
        #expect(table.count == loads.count)
      }
      for load in loads { answer(table.land(load.flight), load) }
      #expect(waiting.isEmpty && table.count == 0)
    }
  }

  @Test func aThousandCallersMakeOneLoad() throws {
    var table = Table()
    let flight = try #require(Self.led(table.join(1)))
    for caller in 0..<1000 {
      #expect(table.join(1) == .follow(flight))
      table.wait(caller, for: flight)
    }
    #expect(table.land(flight) == Array(0..<1000))
    #expect(Self.led(table.join(1)) != nil)
  }

  @Test func aLoadThatFailsGetsOneNewLeaderAndThenAllHearOfIt() throws {
    var table = Table()
    let flight = try #require(Self.led(table.join(1)))
    for caller in 0..<1000 { table.wait(caller, for: flight) }
    guard case .elected(0) = table.fail(flight) else {
      Issue.record("the failure came to something else")
      return
    }
    #expect(table.join(1) == .follow(flight))
    guard case .over(let waiters) = table.fail(flight) else {
      Issue.record("the failure came to something else")
      return
    }
    #expect(waiters == Array(1..<1000) && table.count == 0)
    // One whom nobody waits for needs no other leader.
    let lonely = try #require(Self.led(table.join(1)))
    guard case .over(let none) = table.fail(lonely) else {
      Issue.record("the failure came to something else")
      return
    }
    #expect(none.isEmpty && table.count == 0)
  }

  @Test func waitersAreBounded() throws {
    var table = Table()
    let flight = try #require(Self.led(table.join(1)))
    for caller in 0..<Limits.waitersPerFlightMax { table.wait(caller, for: flight) }
    #expect(table.join(1) == .refused)
  }
}
