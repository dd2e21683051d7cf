import Glibc
import Launcher
import Tokens

/// `millrace doctor`: looks for what `millrace up` needs, for what its documents use, and at the settings of a
/// PostgreSQL that is configured or runs here, and says what to do about what is missing.
enum Doctor {
  /// Prints what was found.
  /// - Throws: `CommandError` with 75 if something is missing.
  static func run(_ configuration: Configuration) throws(CommandError) {
    var missing = 0
    for finding in findings() + (try database(configuration)) {
      let mark = finding.remedy == nil ? "ok" : finding.weight.rawValue
      let line = Help.pad(mark, 8) + Help.pad(finding.what, 14) + finding.detail + "\n"
      Output.write(line)
      guard let remedy = finding.remedy else { continue }
      if finding.weight == .missing { missing += 1 }
      Output.write("        mend it with:  \(remedy)\n")
    }
    guard missing == 0 else {
      throw CommandError(message: "\(missing) of the things above must be mended", exitCode: ExitCode.unavailable)
    }
  }

  static func findings() -> [Finding] {
    let kernel = Kernel(readFile: Files.text)
    return [
      server("postgresql", Launch.postgres, absence: "no initdb and postgres", package: "postgresql"),
      server(
        "redis-server", ForeignProgram.redis(path: Files.environment["PATH"] ?? ""), absence: "not in PATH",
        package: "redis-server"),
      descriptors(), memory(), kernel.hugePages, kernel.overcommit, kernel.processor,
      program("psql", package: "postgresql-client"), program("redis-cli", package: "redis-tools"),
      program("curl", package: "curl"),
    ] + (Files.environment[Setting.tokenKeysFile.variable].map { [tokenKeys($0)] } ?? [])
  }

  /// The file of keys that this environment names: whether it is one, and whether others can read it too.
  static func tokenKeys(_ path: String) -> Finding {
    let what = "token keys"
    let keys: TokenKeys
    do throws(TokenKeys.Failure) {
      keys = try TokenKeys.load(path: path)
    } catch {
      let rotate = "millrace token rotate --token-keys-file \(path)"
      let remedy =
        switch error {
        case .file(code: ENOENT): rotate
        case .file: "ls -l \(path)"
        case .malformed, .count, .full: "mv \(path) \(path).old && \(rotate)"
        }
      return Finding(what: what, detail: "\(path): \(error)", remedy: remedy)
    }
    var status = stat()
    let isOpen = stat(path, &status) == 0 && status.st_mode & 0o077 != 0 && keys.signer != nil
    let detail = "\(keys.keys.count) in \(path)" + (isOpen ? "; others can read it, and make tokens" : "")
    return Finding(what: what, detail: detail, remedy: isOpen ? "chmod 600 \(path)" : nil, weight: .advice)
  }

  private static func server(_ what: String, _ found: ForeignProgram?, absence: String, package: String) -> Finding {
    guard let found else { return Finding(what: what, detail: absence, remedy: "apt-get install \(package)") }
    let detail = "\(found.path), version \(found.version.isEmpty ? "unknown" : found.version)"
    guard let complaint = found.complaint else { return Finding(what: what, detail: detail, remedy: nil) }
    return Finding(
      what: what, detail: "\(found.path): \(complaint)",
      remedy: "Debian 12, Ubuntu 24.04 or newer, or the packages that the project itself offers")
  }

  private static func program(_ name: String, package: String) -> Finding {
    let folders = (Files.environment["PATH"] ?? "").split(separator: ":")
    let found = folders.map { folder -> String in "\(folder)/\(name)" }.first { access($0, X_OK) == 0 }
    return Finding(
      what: name, detail: found ?? "not in PATH; 'up' does without, the README's examples use it",
      remedy: found == nil ? "apt-get install \(package)" : nil, weight: .absent)
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
