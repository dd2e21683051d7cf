public import Basics

/// Where looks into lanes start; see `LineFloor`. At everything they look at the same times.
public struct LaneFloors: Sendable {
  private var lines: [Int16: LineFloor.Line] = [:]
  private var sweep: LineFloor.Sweep

  /// Floors of which nothing is known; at everything one looks once in `sweepPause`.
  public init(sweepPause: TimeSpan) {
    sweep = LineFloor.Sweep(pause: sweepPause)
  }

  /// When everything is to be looked at although whoever looks sleeps; nil if the last look did so.
  public var sweepDue: MonotonicTime? { sweep.due }

  /// Where a look at `now` into `lanes` starts that must find all that is committed if it `findsAll`.
  /// - Parameter runningMax: how many tasks of a line may run at once, for those lines where that matters.
  public mutating func places(
    _ lanes: [Lane], runningMax: [Int16: Int32] = [:], findsAll: Bool, at now: MonotonicTime
  ) -> [ClaimWish.Place] {
    let isDue = sweep.isDue(at: now)
    let places = lanes.map { lane in
      let floor = isDue ? 0 : lines[lane.number]?.start(findsAll: findsAll) ?? 0
      return ClaimWish.Place(lane, floor: floor, runningMax: runningMax[lane.line])
    }
    sweep.looked(at: now, isWhole: places.allSatisfy { $0.floor == 0 })
    return places
  }

  /// A look has come back at `now`, and found what `turn` tells.
  public mutating func found(_ turn: Turn, at now: MonotonicTime) {
    for (lane, seq) in turn.firsts { lines[lane, default: LineFloor.Line()].found(from: seq, at: now) }
  }

  /// Nothing is certain any more.
  public mutating func forget() { self = LaneFloors(sweepPause: sweep.pause) }
}
