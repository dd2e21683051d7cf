import Basics

/// When a batch of submissions leaves: all decisions, no I/O.
///
/// Batches form by themselves: whatever arrives while one is on its way makes up the next. An idle system adds no
/// delay, a busy one puts hundreds of rows into a commit. A second batch leaves beside the first only when it is large:
/// smaller ones cost PostgreSQL more than the wait for the first one's commit costs them.
///
/// Clients that were answered together come back together, but not in the same instant: while there are many, the
/// first of them are held for a moment, lest they leave alone and the others have to wait for their commit.
struct BatchPolicy: Sendable {
  /// What to do with the submissions that wait.
  public enum Decision: Sendable, Equatable {
    /// Send a batch of them now, and ask again.
    case send
    /// Ask again at this time, or when more have come.
    case hold(until: MonotonicTime)
    /// Nothing; ask again when a batch is back or more have come.
    case wait
  }

  private let holdMax: TimeSpan
  private var batchesUnderWay = 0
  /// Submissions that were under way when a batch came back last, and until when the next may be held for their
  /// successors.
  private var crowd = 0
  private var holdUntil = MonotonicTime(nanoseconds: 0)

  /// A policy that holds a batch for a crowd for up to `holdMax`.
  public init(holdMax: TimeSpan = Limits.holdMax) {
    self.holdMax = holdMax
  }

  /// What to do at `now` with `waiting` submissions.
  public func decision(waiting: Int, at now: MonotonicTime) -> Decision {
    if waiting == 0 || batchesUnderWay >= Limits.batchesInFlight { return .wait }
    if batchesUnderWay > 0 { return waiting >= Limits.secondBatchRowsMin ? .send : .wait }
    let isWorthHolding = crowd >= Limits.crowdMin && waiting * 4 < crowd * 3 && now < holdUntil
    return isWorthHolding ? .hold(until: holdUntil) : .send
  }

  /// How many of the submissions whose sizes in bytes are `sizes`, oldest first, go into the next batch.
  static func batchSize(of sizes: some Sequence<Int>) -> Int {
    var bytes = 0
    var count = 0
    for size in sizes {
      bytes += size
      if count == Limits.batchRowsMax || bytes > Limits.batchBytesMax && count > 0 { break }
      count += 1
    }
    return count
  }

  /// A batch has left.
  public mutating func sent() {
    batchesUnderWay += 1
  }

  /// A batch of `rows` submissions is back, with results or without, while `waiting` others wait.
  mutating func cameBack(rows: Int, waiting: Int, at now: MonotonicTime) {
    batchesUnderWay -= 1
    crowd = rows + waiting
    holdUntil = now + holdMax
  }
}
