import Basics
import Testing

@testable import TaskQueue

@Suite(.timeLimit(.minutes(5))) struct HearingTestTests {
  private func time(_ seconds: Double) -> MonotonicTime { MonotonicTime(nanoseconds: UInt64(seconds * 1e9)) }

  @Test func `a lifeline is deaf only if a notification does not come for a while after it was sent`() {
    var hearing = HearingTest()
    func due(_ seconds: Double) -> HearingTest.Step {
      hearing.beatDue(afterQuiet: .seconds(30.0), at: time(seconds))
    }
    hearing.heard(at: time(100))
    #expect(due(129) == .nothing && due(130) == .send)
    // The next beat follows at once, or while this one is under way: the notification may still come.
    #expect(due(130.1) == .nothing)
    hearing.answered(at: time(130.2))
    #expect(due(130.2) == .nothing && due(131.6) == .nothing && due(131.8) == .giveUp)
    hearing.heard(at: time(132))
    #expect(due(140) == .nothing && due(162) == .send)
    // It was heard before the answer.
    hearing.heard(at: time(162.1))
    hearing.answered(at: time(162.2))
    #expect(due(192.2) == .send)
    // What was not sent cannot come.
    hearing.failed()
    #expect(due(197.2) == .send)
  }
}
