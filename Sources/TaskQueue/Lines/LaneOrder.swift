/// In which order a slot looks into the lanes of its lines: all decisions, no I/O.
///
/// The most urgent come first, and the lines, which are equals, take turns in coming first. But of sixteen looks one
/// begins with the least urgent and one with those between: so, however many urgent tasks come, of the others a
/// sixteenth of the claims each is taken, and nobody waits for ever.
public struct LaneOrder: Sendable {
  /// So many looks make a round.
  static let round = 16
  private let lines: [Int16]
  private var looks = 0

  /// The order for `lines`.
  public init(lines: [Int16]) {
    self.lines = lines
  }

  /// The lanes in the order in which the next look goes through them; those of `paused` lines are left out.
  public mutating func next(without paused: Set<Int16> = []) -> [Lane] {
    let open = lines.filter { !paused.contains($0) }
    if open.isEmpty { return [] }
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
