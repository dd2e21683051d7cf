import Glibc
import Launcher

/// `millrace doctor`: looks for what `millrace up` needs, and for what its documents use, and says what to do about
/// what is missing.
enum Doctor {
  /// One thing looked at.
  struct Finding {
    let what: String
    /// What was found, or what is wrong.
    let detail: String
    /// The command that mends it, nil if nothing is wrong.
    let remedy: String?
    /// Whether `up` needs it.
    var isNeeded = true
  }

  /// Prints what was found.
  /// - Throws: `CommandError` with 75 if something is missing.
  static func run() throws(CommandError) {
    var missing = 0
    for finding in findings() {
      let mark = finding.remedy == nil ? "ok      " : finding.isNeeded ? "missing " : "absent  "
      CommandLineTool.write(mark + Help.pad(finding.what, 14) + finding.detail + "\n", to: STDOUT_FILENO)
      guard let remedy = finding.remedy else { continue }
      if finding.isNeeded { missing += 1 }
      CommandLineTool.write("        mend it with:  \(remedy)\n", to: STDOUT_FILENO)
    }
    guard missing == 0 else {
      throw CommandError(message: "\(missing) of the things above must be mended", exitCode: ExitCode.unavailable)
    }
  }

  static func findings() -> [Finding] {
    [
      postgres(), program("redis-server", package: "redis-server"), descriptors(), memory(),
      program("psql", package: "postgresql-client", isNeeded: false),
      program("redis-cli", package: "redis-tools", isNeeded: false), program("curl", package: "curl", isNeeded: false),
    ]
  }

  private static func postgres() -> Finding {
    let found = Launch.postgresPrograms
    return Finding(
      what: "postgresql", detail: found ?? "no initdb and postgres",
      remedy: found == nil ? "apt-get install postgresql" : nil)
  }

  private static func program(_ name: String, package: String, isNeeded: Bool = true) -> Finding {
    let folders = (Files.environment["PATH"] ?? "").split(separator: ":")
    let found = folders.map { folder -> String in "\(folder)/\(name)" }.first { access($0, X_OK) == 0 }
    let absence = isNeeded ? "not in PATH" : "not in PATH; 'up' does without, the README's examples use it"
    return Finding(
      what: name, detail: found ?? absence, remedy: found == nil ? "apt-get install \(package)" : nil,
      isNeeded: isNeeded)
  }

  private static func descriptors() -> Finding {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    return Finding(
      what: "descriptors", detail: "\(limit.rlim_cur) at a time, \(limit.rlim_max) if asked for",
      remedy: limit.rlim_max < 4096 ? "ulimit -n 65536" : nil)
  }

  private static func memory() -> Finding {
    let line = Files.text("/proc/meminfo")?.split(separator: "\n").first { $0.hasPrefix("MemAvailable") } ?? ""
    let kib = line.split(separator: " ").compactMap { Int($0) }.first ?? 0
    return Finding(
      what: "memory", detail: "\(kib / 1024) MiB available",
      remedy: kib < 1 << 20 ? "free some, or lower --cache-mib, --workers and --argon2-memory-kib" : nil)
  }
}
