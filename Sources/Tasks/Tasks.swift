// Tasks: what can be queued: the kinds of tasks, what is known of each, and how it is run.
//
// The API makes its routes from `TaskKind.all` and learns here what identifies a task; the worker learns how many of a
// kind it runs at once, and runs them. It calls Hashing for cryptography and Reactor for the compute pool, and knows
// neither the queue's tables nor HTTP. Names that processes share over Redis stand in `RedisNames`.
//
// A new kind is a file in `Kinds` and its name in `TaskKind.all`: everything else follows from that.

import Basics

/// The bounds of this room.
public enum Limits {
  /// Inputs from this many bytes on are bulky: they are computed, and hashed for their key, beside the reactor.
  public static let bulkyBytes = 16_384
  /// How often a task that waits looks whether it is still wanted.
  static let contextLook = TimeSpan.milliseconds(50)
  /// The longest that a task may be asked to take, in seconds,
  public static let longTaskSecondsMax = 600.0
  /// and the longest name that a client may give one, in bytes.
  static let longTaskNameBytesMax = 1024
  /// The largest result that is cached, in bytes.
  public static let cachedResultBytesMax = 1 << 20
}
