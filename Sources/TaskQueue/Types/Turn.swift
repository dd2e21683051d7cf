/// What one round trip of a slot brought: which completions counted, and what was claimed.
public struct Turn: Sendable {
  /// Ids whose completion was accepted; the others were fenced off, somebody else has them.
  public internal(set) var accepted: [Int64] = []
  /// Tasks that are this worker's now, all under one lease.
  public internal(set) var claimed: [ClaimedTask] = []
  /// The smallest place that was claimed in each lane, to start the next claim from.
  var firsts: [(lane: Int16, seq: Int64)] = []
  /// Tasks that were claimed and are over already, and the lease.
  var cancelled: [(id: Int64, lease: Int64)] = []
  /// Whether there may be more to claim.
  public internal(set) var isFull = false
  /// Whether the idle row that was wished for is in place.
  public internal(set) var isAnnounced = true

  mutating func found(_ seq: Int64, in lane: Int16) {
    if let index = firsts.firstIndex(where: { $0.lane == lane }) {
      firsts[index].seq = min(firsts[index].seq, seq)
    } else {
      firsts.append((lane, seq))
    }
  }
}
