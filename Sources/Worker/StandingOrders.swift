import TaskQueue
import Tasks

/// What people want of a worker, as its slots go by it.
struct StandingOrders: Equatable {
  /// Lines of which nothing is begun,
  let paused: Set<Int16>
  /// and those of which no more than so many tasks run at once, over all workers.
  let runningMax: [Int16: Int32]
  /// Whether it claims nothing more for the present.
  let isQuiet: Bool
  /// How many slots of a class may claim, of those that claim one task at a time; nil for all.
  let slotsMax: Int?

  /// As `orders` say. Orders for kinds that this program does not know are for others.
  init(_ orders: QueueOrders = QueueOrders()) {
    var (paused, runningMax) = (Set<Int16>(), [Int16: Int32]())
    for kind in TaskKind.all {
      guard let order = orders.kinds[kind.name] else { continue }
      for line in kind.lines {
        if order.isPaused { paused.insert(line.number) }
        // Of what is claimed by the hundred nobody could say how much runs.
        if line.slots.claimMax == 1, let most = order.runningMax { runningMax[line.number] = most }
      }
    }
    self.paused = paused
    self.runningMax = runningMax
    isQuiet = orders.wanted != .run
    slotsMax = orders.slotsMax.map(Int.init)
  }

  /// Whether the slot with that number, from 0 on, claims nothing for the present.
  func keep(_ number: Int, of slots: SlotClass) -> Bool {
    isQuiet || slots.claimMax == 1 && !slots.isForSuspects && number >= slotsMax ?? .max
  }

  /// Lines of which `slots` begin nothing: those that are paused, and where the worker is to run nothing that takes
  /// long, suspects that do.
  func closed(to slots: SlotClass) -> Set<Int16> {
    guard slots.isForSuspects, slotsMax == 0 else { return paused }
    return paused.union(SlotClass.all.filter { $0.claimMax == 1 && !$0.isForSuspects }.flatMap(TaskKind.lines))
  }

  /// Whether tasks of `line` may wait although slots sleep.
  func holdsUp(_ line: Int16) -> Bool { isQuiet || runningMax[line] != nil }
}
