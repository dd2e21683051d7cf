@testable import Basics
import Testing

@Suite("Pace", .timeLimit(.minutes(5))) struct PaceTests {
  private func at(_ seconds: UInt64) -> MonotonicTime { MonotonicTime(nanoseconds: seconds * 1_000_000_000) }

  @Test("a span begins anew with each step that was given, and a lot at once is worth no more than one") func giving() {
    var pace = Pace(from: at(1))
    pace.gave(Pace.stepBytes - 1, at: at(2))
    #expect(pace.since == at(1))
    pace.gave(1, at: at(3))
    #expect(pace.since == at(3))
    pace.gave(.max, at: at(4))
    #expect(pace.since == at(4))
    pace.gave(1, at: at(5))
    #expect(pace.since == at(4))
  }

  @Test("what is taken is counted from what was there at the span's beginning") func taking() {
    var pace = Pace(from: at(1), untaken: 3 * Pace.stepBytes)
    var begins = [pace.left(2 * Pace.stepBytes + 1, at: at(2))]
    #expect(pace.since == at(1))
    begins.append(pace.left(2 * Pace.stepBytes, at: at(3)))
    #expect(pace.since == at(3))
    begins.append(pace.left(2 * Pace.stepBytes, at: at(4)))
    #expect(begins == [false, true, false])
  }

  @Test("time in which nothing could be given does not count") func resting() {
    var pace = Pace(from: at(1))
    pace.rested(for: .seconds(5 as UInt64))
    #expect(pace.since == at(6))
  }
}
