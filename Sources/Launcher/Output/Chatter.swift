import Telemetry

/// What programs of others say at every start and stop and nobody has to read, as long as all goes well.
enum Chatter {
  /// The beginnings of what PostgreSQL says when nothing is wrong.
  private static let postgres = [
    "LOG:  starting PostgreSQL", "LOG:  listening on", "LOG:  database system was shut down at",
    "LOG:  database system is ready to accept connections", "LOG:  received fast shutdown request",
    "LOG:  received smart shutdown request", "LOG:  aborting any active transactions",
    // It ends with this code whenever it is told to.
    "LOG:  background worker \"logical replication launcher\"", "LOG:  shutting down",
    "LOG:  database system is shut down", "LOG:  checkpoint starting: shutdown", "LOG:  checkpoint complete",
    "FATAL:  terminating connection due to administrator command",
    // Whoever ends at once does not say good-bye first.
    "LOG:  could not send data to client", "FATAL:  connection to client lost",
  ]

  /// What Redis says as a warning at every start and stop: who it is, and about memory that only one that writes
  /// snapshots to disk would need.
  private static let redis = [
    "oO0OoO0OoO0Oo", "Redis version=", "Configuration loaded", "Server initialized",
    "WARNING Memory overcommit must be enabled", "User requested shutdown", "Redis is now ready to exit",
  ]

  /// What `name` may say, nil for a role, which has a budget of its own.
  static func budget(of name: String) -> LogBudget? {
    guard ["postgres", "redis"].contains(name) else { return nil }
    return LogBudget(burst: Limits.foreignLinesAtOnce, perSecond: Limits.foreignLinesPerSecond)
  }

  /// Whether `line`, which `name` has said, says that all is well.
  static func contains(_ line: String, of name: String) -> Bool {
    switch name {
    // Whoever runs it is told when it fails.
    case "initdb": return true
    case "postgres": return line.isEmpty || postgres.contains { line.hasPrefix($0) }
    case "redis":
      // PROCESS:ROLE DAY MONTH YEAR TIME MARK TEXT; the marks '.', '-' and '*' are debugging, verbose and notice.
      let parts = line.split(separator: " ", maxSplits: 6)
      if line.contains(":signal-handler (") { return true }
      guard parts.count == 7, parts[0].contains(":") else { return line.isEmpty }
      return parts[5] != "#" || redis.contains { parts[6].hasPrefix($0) }
    default: return false
    }
  }
}
