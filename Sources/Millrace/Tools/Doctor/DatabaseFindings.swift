import Glibc
import Launcher
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
    case .failure where !configuration.namesQueue:
      // The system that ran here does not, and its socket was left behind.
      return []
    case .failure(let error):
      return [
        Finding(what: "database", detail: "\(error)", remedy: "pg_isready, and see DB_HOST, DB_USER, DB_PASSWORD")
      ]
    }
  }

  /// The same of `settings`.
  static func database(_ settings: ServerSettings) -> [Finding] {
    let major = Int(settings.version.prefix { $0.isNumber }) ?? 0
    let isOld = major < Launcher.Limits.postgresMajorMin
    var findings = [
      Finding(
        what: "database", detail: "PostgreSQL \(settings.version) answers" + (isOld ? ", which is too old" : ""),
        remedy: isOld ? "upgrade it to \(Launcher.Limits.postgresMajorMin) or later" : nil)
    ]
    func expect(
      _ name: String, _ isGood: Bool, _ value: String, _ why: String, _ weight: Finding.Weight, unit: String = ""
    ) {
      guard let found = settings[name], !isGood else { return }
      findings.append(
        Finding(
          what: "database", detail: "\(name) is \(found)\(unit): \(why)",
          remedy: "psql -c \"alter system set \(name) = '\(value)'\" -c 'select pg_reload_conf()'", weight: weight))
    }
    let lost = "tasks that were acknowledged are lost when the machine fails"
    expect("fsync", settings["fsync"] == "on", "on", lost, .missing)
    expect("synchronous_commit", settings["synchronous_commit"] != "off", "on", lost, .missing)
    expect(
      "full_page_writes", settings["full_page_writes"] == "on", "on", "a page that is torn in a crash stays so",
      .missing)
    expect("autovacuum", settings["autovacuum"] == "on", "on", "tables grow and claims slow down without end", .missing)
    // Segments that are kept are written over; new ones are filled with zeros while all commits wait.
    let waits = "under load commits wait for each new segment of the log, about 50 ms"
    expect("min_wal_size", Int(settings["min_wal_size"] ?? "") ?? 0 >= 1024, "1GB", waits, .advice, unit: " MiB")
    expect("wal_init_zero", settings["wal_init_zero"] == "off", "off", waits, .advice)
    return findings
  }
}
