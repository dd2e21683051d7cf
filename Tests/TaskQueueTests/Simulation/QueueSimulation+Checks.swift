@testable import TaskQueue

extension QueueSimulation {
  /// Everything that was under way is over, but for tasks that are being computed.
  mutating func checkRest() {
    if problem != nil { return }
    for group in 0..<2 {
      let waiting = table.ready.contains { $0.group == group }
      for (number, worker) in workers.enumerated() where !worker.isDead && !worker.isStopping {
        let slots = worker.slots.filter { $0.group == group }
        if waiting, slots.contains(where: \.isAsleep) {
          problem = "a slot of worker \(number), group \(group), sleeps beside a ready task"
        }
        if worker.gates[group].leavesRowBehind { problem = "worker \(number) believes that it left a row behind" }
        let hasRow = table.idle.contains { $0.owner == number && $0.group == group }
        if hasRow, !slots.contains(where: \.isAsleep) {
          problem = "worker \(number), group \(group), is busy and would swallow a notification"
        }
      }
    }
    for row in table.idle where workers[row.owner].isDead || workers[row.owner].isStopping {
      problem = "worker \(row.owner) is gone and has an idle row"
    }
    for (task, state) in table.states.enumerated() {
      let places = table.ready.filter { $0.holds([task]) }.count + table.leases.filter { $0.tasks.contains(task) }.count
      let isWhole = state == .ready || state == .leased ? places == 1 : places == 0
      if !isWhole { problem = "I1: task \(task), \(state), stands in \(places) places" }
      if table.completions[task] != (state == .done ? 1 : 0) {
        problem = "I3: task \(task), \(state), was completed \(table.completions[task]) times"
      }
    }
  }

  /// Nothing is computed any more either.
  mutating func checkEnd() {
    if problem != nil { return }
    if !table.leases.isEmpty { problem = "leases are left: \(table.leases)" }
    if let task = table.states.firstIndex(where: { $0 != .done }) {
      problem = "I1 I2: task \(task) is \(table.states[task]) in the end"
    }
  }
}
