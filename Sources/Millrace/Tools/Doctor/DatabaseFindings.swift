import Glibc
import TaskQueue
import Telemetry

extension Doctor {
  /// What there is to say of the PostgreSQL that is configured, or that runs in this folder.
  static func database(_ configuration: Configuration) throws(CommandError) -> [Finding] {
    guard configuration.hasQueueAtHand else { return [] }
    let log = Logger(sink: LogSink(fd: STDERR_FILENO), subsystem: "doctor", level: .error)
    defer { log.flush() }
    let queue = configuration.queueAtHand
    let answer = try OneTask.run { (pool, reactor) throws(QueueError) in
      try await ServerSettings.read(queue, pool: pool, log: log, on: reactor)
    }
    switch answer {
    case .success(let settings): return database(settings)
    case .failure(let error):
      return [Finding(what: "database", detail: "\(error)", remedy: "pg_isready, and see DB_HOST and DB_USER")]
    }
  }

  /// The same of `settings`.
  static func database(_ settings: ServerSettings) -> [Finding] {
    var findings = [Finding(what: "database", detail: "PostgreSQL \(settings.version) answers", remedy: nil)]
    func expect(_ name: String, _ isGood: Bool, _ value: String, _ why: String, _ weight: Finding.Weight) {
      guard let found = settings[name], !isGood else { return }
      findings.append(
        Finding(
          what: "database", detail: "\(name) is \(found): \(why)",
          remedy: "psql -c \"alter system set \(name) = '\(value)'\" -c 'select pg_reload_conf()'", weight: weight))
    }
    let lost = "tasks that were acknowledged are lost when the machine fails"
    expect("fsync", settings["fsync"] == "on", "on", lost, .missing)
    expect(
      "synchronous_commit", !["off", "local"].contains(settings["synchronous_commit"] ?? ""), "on", lost, .missing)
    expect(
      "full_page_writes", settings["full_page_writes"] == "on", "on", "a page that is torn in a crash stays so",
      .missing)
    expect("autovacuum", settings["autovacuum"] == "on", "on", "tables grow and claims slow down without end", .missing)
    // In MiB. Segments that are kept are written over; new ones are filled with zeros while all commits wait.
    expect(
      "min_wal_size", Int(settings["min_wal_size"] ?? "") ?? 0 >= 1024, "1GB",
      "MiB; each 16 MB of new log keep all commits waiting, about 50 ms every 1.5 s under load", .advice)
    return findings
  }
}
