import Basics
import Postgres

/// Tells sleeping workers of tasks, and remembers for each group of slots where in their line the sleepers begin:
/// where tasks come one by one somebody goes to sleep for each, so that while an old snapshot stands there are soon
/// more dead rows than workers.
struct Teller {
  /// Up to `workers` workers that sleep with slots of `group` are told that `tasks` tasks wait.
  struct Word {
    let group: Int16
    let tasks: Int
    let workers: Int
  }

  private var floors: [Int16: LineFloor] = [:]

  /// The statement that says `words` at `now`.
  mutating func step(_ words: [Word], at now: MonotonicTime) -> (PostgresStatement, PostgresParameters) {
    var starts: [Int64] = []
    for word in words { starts.append(floors[word.group, default: Teller.floor].start(findsAll: true, at: now)) }
    var parameters = PostgresParameters()
    parameters.add(words.map(\.group))
    parameters.add(words.map { Int64($0.tasks) })
    parameters.add(words.map { Int64($0.workers) })
    parameters.add(starts)
    return (Teller.wake, parameters)
  }

  /// The statement was answered at `now`.
  mutating func said(_ words: [Word], _ result: PostgresResult, at now: MonotonicTime) {
    for (row, word) in words.enumerated() where row < result.rowCount {
      floors[word.group]?.found(from: result.int64(row, 0), at: now)
    }
  }

  /// It has failed; the server may have begun anew, and the places with it.
  mutating func failed() { floors.removeAll() }

  private static let floor = LineFloor(sweepPause: Limits.sleeperSweepPause)

  private static let wake = PostgresStatement(
    "queue_wake", "select unnest(millrace.wake($1::smallint[], $2::bigint[], $3::bigint[], $4::bigint[]))")
}
