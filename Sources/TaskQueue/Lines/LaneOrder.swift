/// In which order a slot looks into the lanes of its lines: all decisions, no I/O.
///
/// The most urgent come first, and the lines, which are equals, take turns in coming first. But of sixteen looks one
/// begins with the least urgent and one with those between: so, however many urgent tasks come, of the others a
/// sixteenth of the claims each is taken, and nobody waits for ever. Tasks whose worker was lost have one lane a line,
/// and slots of their own that look there, always in the order of the lines: they are few.
public struct LaneOrder: Sendable {
  /// So many looks make a round.
  static let round = 16
  private let lines: [Int16]
  private let isForSuspects: Bool
  private var looks = 0

  /// The order for `lines`: for their tasks of all priorities, or for those whose worker was lost.
  /// - Parameter isForSuspects: those whose worker was lost, line by line.
  public init(lines: [Int16], isForSuspects: Bool = false) {
    self.lines = lines
    self.isForSuspects = isForSuspects
  }

  /// The lanes in the order in which the next look goes through them; those of `paused` lines are left out.
  public mutating func next(without paused: Set<Int16> = []) -> [Lane] {
    let open = lines.filter { !paused.contains($0) }
    if open.isEmpty { return [] }
    if isForSuspects { return open.map(Lane.suspects) }
    let turn = looks % LaneOrder.round
    let first = looks / LaneOrder.round % open.count
    looks &+= 1
    let priorities: [Priority] =
      switch turn {
      case LaneOrder.round - 1: [.low, .high, .normal]
      case LaneOrder.round / 2 - 1: [.normal, .high, .low]
      default: [.high, .normal, .low]
      }
    // Every other look within a round, too: a round may be all that there is time for.
    let start = (first + turn) % open.count
    let rotated = open[start...] + open[..<start]
    return priorities.flatMap { priority in rotated.map { Lane(line: $0, priority: priority) } }
  }
}
