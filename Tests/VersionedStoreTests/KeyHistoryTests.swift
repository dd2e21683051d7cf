import Basics
import TestSupport
import Testing

/// The checker itself: it must take what one store could have told, and refuse what it could not.
@Suite("The checker of histories of a key", .timeLimit(.minutes(5))) struct KeyHistoryTests {
  typealias State = KeyHistory.State

  private static func history(_ calls: [(KeyHistory.Call, UInt64, UInt64)]) -> KeyHistory {
    var history = KeyHistory()
    for call in calls { history.add(call.0, from: call.1, to: call.2) }
    return history
  }

  @Test("what is in order is believed, and what overlaps may be in either order") func believes() {
    let put = KeyHistory.Call.wrote(7, ifVersion: nil, version: 1)
    #expect(Self.history([]).isLinearizable)
    #expect(Self.history([(put, 1, 2), (.read(State(version: 1, value: 7)), 3, 4)]).isLinearizable)
    #expect(Self.history([(put, 1, 5), (.read(nil), 2, 3), (.read(State(version: 1, value: 7)), 3, 4)]).isLinearizable)
    #expect(
      Self.history([
        (put, 1, 9), (.wrote(8, ifVersion: nil, version: 2), 1, 9), (.read(State(version: 2, value: 8)), 10, 11),
      ]).isLinearizable)
    // Nobody knows when it was done, or whether.
    let lost = KeyHistory.Call.wrote(7, ifVersion: nil, version: nil)
    #expect(
      Self.history([(lost, 1, 2), (.read(nil), 3, 4), (.read(State(version: 1, value: 7)), 5, 6)]).isLinearizable)
    #expect(Self.history([(lost, 1, 2), (.read(nil), 3, 4)]).isLinearizable)
    let deletion = KeyHistory.Call.wrote(nil, ifVersion: nil, version: 2)
    #expect(Self.history([(put, 1, 2), (deletion, 3, 4), (.read(nil), 5, 6)]).isLinearizable)
    #expect(Self.history([(put, 1, 2), (.refused(ifVersion: 4, current: 1), 3, 4)]).isLinearizable)
  }

  @Test("an old value, a version twice, a gap, and a lost write are not believed") func refuses() {
    let put = KeyHistory.Call.wrote(7, ifVersion: nil, version: 1)
    let second = KeyHistory.Call.wrote(8, ifVersion: nil, version: 2)
    #expect(!Self.history([(put, 1, 2), (.read(nil), 3, 4)]).isLinearizable)
    #expect(!Self.history([(put, 1, 2), (.wrote(8, ifVersion: nil, version: 1), 3, 4)]).isLinearizable)
    #expect(!Self.history([(put, 1, 2), (.wrote(8, ifVersion: nil, version: 3), 3, 4)]).isLinearizable)
    #expect(!Self.history([(put, 1, 2), (second, 3, 4), (.read(State(version: 1, value: 7)), 5, 6)]).isLinearizable)
    // The new value is seen, and then the old one.
    #expect(
      !Self.history([
        (put, 1, 2), (second, 3, 10), (.read(State(version: 2, value: 8)), 4, 5),
        (.read(State(version: 1, value: 7)), 6, 7),
      ]).isLinearizable)
    #expect(!Self.history([(put, 1, 2), (.wrote(8, ifVersion: 5, version: 2), 3, 4)]).isLinearizable)
    #expect(!Self.history([(put, 1, 2), (.refused(ifVersion: 1, current: 1), 3, 4)]).isLinearizable)
    #expect(!Self.history([(.read(State(version: 1, value: 7)), 1, 2), (put, 3, 4)]).isLinearizable)
  }

  @Test("what is known at last of lost puts settles when they were done, or that they were not") func resolving() {
    let lost = KeyHistory.Call.wrote(7, ifVersion: nil, version: nil)
    let put = KeyHistory.Call.wrote(8, ifVersion: nil, version: 2)
    let history = Self.history([(lost, 1, 2), (put, 3, 4)])
    #expect(history.isLinearizable)
    #expect(history.resolved(by: [7: 1, 8: 2]).isLinearizable)
    // Somebody must have been first.
    #expect(!history.resolved(by: [8: 2]).isLinearizable)
    #expect(!history.resolved(by: [7: 3, 8: 2]).isLinearizable)
  }

  @Test("stories of one store with clients at once are believed, and not after one answer was falsified")
  func stories() {
    var falsified = 0
    for seed in 0..<1000 {
      var random = SeededRandom(seed: UInt64(seed))
      var state = State()
      var calls: [(call: KeyHistory.Call, begin: UInt64, end: UInt64)] = []
      for moment in 0..<60 {
        // Its effect is at this moment; it began before it and ends after it.
        let call: KeyHistory.Call
        switch Int.random(in: 0..<6, using: &random) {
        case 0..<3: call = .read(state.value == nil ? nil : state)
        case 3:
          state = State(version: state.version + 1, value: moment)
          call = .wrote(
            moment, ifVersion: nil, version: seed.isMultiple(of: 2) && moment.isMultiple(of: 5) ? nil : state.version)
        case 4:
          let live = state.value == nil ? nil : state.version
          let wanted = Int64.random(in: 1...max(1, state.version), using: &random)
          if wanted == live {
            state = State(version: state.version + 1, value: moment)
            call = .wrote(moment, ifVersion: wanted, version: state.version)
          } else {
            call = .refused(ifVersion: wanted, current: live)
          }
        default:
          state = State(version: state.version + 1, value: nil)
          call = .wrote(nil, ifVersion: nil, version: state.version)
        }
        let (before, behind) = (UInt64.random(in: 0...40, using: &random), UInt64.random(in: 1...40, using: &random))
        let time = UInt64(moment * 10 + 100)
        calls.append((call, time - before, time + behind))
      }
      #expect(Self.history(calls.map { ($0.call, $0.begin, $0.end) }).isLinearizable, "seed \(seed)")
      let writes = calls.indices.filter { if case .wrote(_, _, .some) = calls[$0].call { true } else { false } }
      // Where nobody knows what became of a write, a version more may have been.
      guard !seed.isMultiple(of: 2), let index = writes.randomElement(using: &random),
        case .wrote(let value, let wanted, let version?) = calls[index].call
      else { continue }
      calls[index].call = .wrote(value, ifVersion: wanted, version: version + 1)
      #expect(!Self.history(calls.map { ($0.call, $0.begin, $0.end) }).isLinearizable, "seed \(seed), falsified")
      falsified += 1
    }
    #expect(falsified > 400)
  }
}
