import Testing

@testable import TaskQueue

@Suite(.timeLimit(.minutes(5))) struct LaneOrderTests {
  @Test func `every lane is looked into at each look, the most urgent first but for two looks in sixteen`() {
    for lines in [[7], [0, 3], [1, 2, 5]] as [[Int16]] {
      var order = LaneOrder(lines: lines)
      var begins: [Priority: Int] = [:]
      for _ in 0..<(LaneOrder.round * 30) {
        let lanes = order.next()
        #expect(Set(lanes).count == lines.count * 3)
        // All of one priority before any of the next.
        let priorities = lanes.map { Lane.priority(ofNumber: $0.number) }
        #expect(zip(priorities, priorities.dropFirst()).count { $0 != $1 } == 2)
        begins[priorities[0], default: 0] += 1
      }
      #expect(begins == [.high: 14 * 30, .normal: 30, .low: 30])
    }
  }

  @Test func `lines take turns in coming first, whatever the priority, and paused ones are left out`() {
    var order = LaneOrder(lines: [0, 3])
    var begins: [Lane: Int] = [:]
    for _ in 0..<(LaneOrder.round * 40) { begins[order.next()[0], default: 0] += 1 }
    for priority in Priority.allCases {
      let (one, other) = (Lane(line: 0, priority: priority), Lane(line: 3, priority: priority))
      #expect(begins[one]! == begins[other]!)
    }
    #expect(Set(order.next(without: [0]).map(\.line)) == [3] && order.next(without: [0, 3]).isEmpty)
  }

  @Test func `those whose worker was lost have one lane a line, in the order of the lines`() {
    var order = LaneOrder(lines: [3, 0], isForSuspects: true)
    for _ in 0..<LaneOrder.round { #expect(order.next() == [.suspects(of: 3), .suspects(of: 0)]) }
    #expect(order.next(without: [3]) == [.suspects(of: 0)])
  }
}
