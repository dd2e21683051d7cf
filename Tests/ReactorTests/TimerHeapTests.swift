import Basics
import Testing

@testable import Reactor

@Test(.timeLimit(.minutes(5)))
func `timers fire in order at their last deadline whatever was armed, moved and cancelled`() {
  for seed in 0..<400 as Range<UInt64> {
    var random = SeededRandom(seed: seed)
    var heap = TimerHeap()
    let handler = EventHandler()
    let timers = (0..<40).map { _ in ReactorTimer(handler) }
    var model: [Int: UInt64] = [:]
    var now: UInt64 = 0
    for _ in 0..<300 {
      let index = Int.random(in: 0..<timers.count, using: &random)
      switch Int.random(in: 0..<6, using: &random) {
      case 0...3:
        let deadline = now + UInt64.random(in: 0..<1000, using: &random)
        heap.arm(timers[index], at: MonotonicTime(nanoseconds: deadline))
        model[index] = deadline
      case 4:
        heap.cancel(timers[index])
        model[index] = nil
      default:
        now += UInt64.random(in: 0..<300, using: &random)
        var fired: [Int] = []
        while let due = heap.popDue(MonotonicTime(nanoseconds: now)) {
          fired.append(timers.firstIndex { $0 === due.timer }!)
        }
        #expect(fired.map { model[$0] ?? 0 } == model.values.filter { $0 <= now }.sorted())
        #expect(Set(fired) == Set(model.filter { $0.value <= now }.keys))
        model = model.filter { $0.value > now }
      }
      #expect(heap.count == model.count)
    }
  }
}
