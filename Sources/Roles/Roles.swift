// Roles: what every role does alike, once: its process's signals, the second signal, what a service manager hears, the
// descriptor limit, the endpoints for operators, and who may call what.
//
// The roles on the floor above are `Role`s and are run by `RoleProcess`; their routers get `addOperatorEndpoints`, and
// an `Admission` as the guard of what is not open to anybody. It calls `Reactor` for signals, `HTTP` for routes,
// `Tokens` for who somebody is, and `Telemetry` for logs and metrics. What a new role has to do at its start and end is
// in `Role`; what all roles should do in addition belongs here.

import Basics

/// The bounds of this room.
public enum Limits {
  /// Wrong tokens that one address may show
  static let wrongTokensMax = 10
  /// within this time, until none of its tokens is looked at for the rest of it.
  static let wrongTokensWindow = TimeSpan.seconds(60 as UInt64)
  /// Addresses of which wrong tokens are counted.
  static let guessersMax = 4096
  /// Blocks of memory of so many bytes go back to the system as soon as they are free. A body or a result of a megabyte
  /// is rare enough, and what a crowd of them has left would stay with the process.
  static let mappedBlockBytes = 256 << 10
  /// How often a watchdog is fed in the time after which it bites.
  static let watchdogFeedings: UInt64 = 3
  /// How soon after the first wish to stop another counts as impatience: one wish can arrive twice, from a terminal or
  /// timeout(1), which signal the process and its group.
  static let secondSignal = TimeSpan.milliseconds(200)
}
