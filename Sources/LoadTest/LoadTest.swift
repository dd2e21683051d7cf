// LoadTest: measurements of single rooms, for `millrace bench`. The executable calls it; it calls the room it measures
// just as a role would. Measurements of whole processes are scripts in `deploy/bench`, which use these where they need
// something that no outside tool can drive.
//
// A new measurement of the queue is a row that `QueueBenchmark.run` reports; one of another room is a type beside it,
// called from `Millrace/Tools/Bench.swift`.

import Basics

/// The bounds of this room.
public enum Limits {
  /// Tasks of one measurement, which bounds time and disk.
  public static let tasksMax = 2_000_000
  /// How long a worker that has measured waits for the answer when it says that it leaves.
  static let leavePatience = TimeSpan.seconds(2 as UInt64)
  /// Tasks that may share a place in line, as small ones do.
  static let tasksPerPlace = 32
  /// Tasks of which each is submitted to a worker that sleeps.
  static let wakeUps = 500
  /// Connections of one measurement.
  public static let connectionsMax = 64
}
