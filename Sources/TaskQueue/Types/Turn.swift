/// What one round trip of a slot brought: which completions counted, and what was claimed.
public struct Turn: Sendable {
  /// Ids whose completion was accepted; the others were fenced off, somebody else has them.
  public internal(set) var accepted: [Int64] = []
  /// Tasks that are this worker's now, all under one lease.
  public internal(set) var claimed: [ClaimedTask] = []
  /// The smallest place in line that was claimed, to start the next claim from; nil if nothing tells it.
  public internal(set) var firstSeq: Int64?
  /// Whether there may be more to claim.
  public internal(set) var isFull = false
  /// Whether the idle row that was wished for is in place.
  public internal(set) var isAnnounced = true
}
