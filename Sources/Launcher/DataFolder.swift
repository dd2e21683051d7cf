import Glibc
import Reactor

/// What lies where:
///
///     .millrace/lock          held by the one launcher that uses the folder
///     .millrace/secret.key    seals secret inputs; made at the first start, mode 0600
///     .millrace/token.keys    signs tokens; made at the first start, mode 0600, changed by `millrace token rotate`
///     .millrace/postgres/     PostgreSQL's data
///     .millrace/redis/        Redis' working folder
///     .millrace/kv/           keys and their versions
///     .millrace/run/          Unix sockets
///     .millrace/processes     who runs, for `millrace status`
///
/// PostgreSQL refuses to run as root, so for root everything of PostgreSQL belongs to an unprivileged user. Where that
/// user cannot reach the folder (below /root, say), the server gets its folder as an open descriptor, which needs no
/// way to it: all that is kept is in the one place, and whoever deletes that begins anew. Sockets, which keep nothing,
/// move to a folder in /tmp that is named after this one; so they do where their paths would be longer than the kernel
/// takes or would be misread in a setting.
struct DataFolder {
  let path: String
  let run: String
  let postgres: String
  /// Who PostgreSQL runs as, nil for the user who called.
  let serverUser: String?
  /// Whether that user can reach the folder by its path.
  let isReachable: Bool
  private let serverOwner: Owner
  private let lockFD: CInt

  private struct Owner {
    let user: uid_t
    let group: gid_t
  }

  var redis: String { path + "/redis" }
  var secretKey: String { path + "/secret.key" }
  var tokenKeys: String { DataFolder.tokenKeys(below: path) }
  var keys: String { DataFolder.keys(below: path) }
  var processes: String { "\(path)/\(ProcessList.fileName)" }

  /// Makes what is missing and takes the folder for this process.
  /// - Throws: `LaunchError`, if another launcher has it or it cannot be written.
  init(_ requested: String) throws(LaunchError) {
    try DataFolder.makePublic(requested)
    guard let resolved = realpath(requested, nil) else { throw LaunchError("cannot use the folder '\(requested)'") }
    let path = String(cString: resolved)
    free(resolved)
    self.path = path
    lockFD = try DataFolder.lock(path)
    let user = geteuid() == 0 ? getpwnam("postgres") ?? getpwnam("nobody") : nil
    serverUser = user.map { String(cString: $0.pointee.pw_name) }
    serverOwner = Owner(user: user?.pointee.pw_uid ?? geteuid(), group: user?.pointee.pw_gid ?? getegid())
    isReachable = user == nil || DataFolder.canReach(path, serverOwner)
    let name = "millrace-" + DataFolder.digest(of: path)
    postgres = path + "/postgres"
    let former = "/var/lib/\(name)/postgres"
    if !isReachable, access(postgres, F_OK) != 0, access(former + "/PG_VERSION", F_OK) == 0 {
      throw LaunchError(
        "an earlier version has kept its data in \(former): take them over with 'mv \(former) "
          + "\(Shell.quoted(postgres))', or begin anew with 'rm -r \(former)'")
    }
    let isShort = path.utf8.count + 4 + 1 + Limits.socketNameBytes <= Limits.socketPathBytesMax
    run = isReachable && isShort && DataFolder.isPlain(path) ? path + "/run" : "/tmp/\(name)"
    try DataFolder.makePrivate(run, for: serverOwner)
    for folder in [redis, keys] {
      try DataFolder.makePrivate(folder, for: Owner(user: geteuid(), group: getegid()))
    }
  }

  /// Where the keys of tokens lie below the data folder at `path`.
  static func tokenKeys(below path: String) -> String { path + "/token.keys" }

  /// Where keys and their versions lie below the data folder at `path`.
  static func keys(below path: String) -> String { path + "/kv" }

  /// Makes a folder for PostgreSQL to fill.
  func makeServerFolder(_ path: String) throws(LaunchError) {
    try DataFolder.makePrivate(path, for: serverOwner)
  }

  /// Whether `path` means itself wherever it is written: in a list of addresses a comma parts and `*` begins a weight,
  /// and PostgreSQL's settings give quotes and backslashes a meaning.
  static func isPlain(_ path: String) -> Bool {
    path.utf8.allSatisfy { $0 >= 0x20 && !",*=\"'\\".utf8.contains($0) }
  }

  /// Makes a folder that everybody may look into, whatever the umask says, and the folders above it.
  private static func makePublic(_ path: String) throws(LaunchError) {
    var end = path.startIndex
    while end < path.endIndex {
      end = path[path.index(after: end)...].firstIndex(of: "/") ?? path.endIndex
      let folder = String(path[..<end])
      if mkdir(folder, 0o755) == 0 {
        chmod(folder, 0o755)
      } else if errno != EEXIST {
        throw failure(path)
      }
    }
  }

  /// Makes a folder for `owner` alone. One that somebody else has put there, as anybody can in /tmp, is refused.
  private static func makePrivate(_ path: String, for owner: Owner) throws(LaunchError) {
    if mkdir(path, 0o700) != 0, errno != EEXIST { throw failure(path) }
    var status = stat()
    guard lstat(path, &status) == 0 else { throw failure(path) }
    guard status.st_mode & S_IFMT == S_IFDIR, status.st_uid == owner.user || status.st_uid == geteuid() else {
      throw LaunchError("'\(path)' belongs to somebody else or is no folder; remove it")
    }
    guard chown(path, owner.user, owner.group) == 0, chmod(path, 0o700) == 0 else { throw failure(path) }
  }

  private static func failure(_ path: String) -> LaunchError {
    LaunchError("cannot make the folder '\(path)': \(String(cString: strerror(errno)))")
  }

  /// The launcher that uses the folder at `path`, nil if none does.
  static func holder(of path: String) -> pid_t? {
    let fd = open(path + "/lock", O_RDONLY | O_CLOEXEC)
    guard fd >= 0 else { return nil }
    defer { close(fd) }
    guard flock(fd, LOCK_SH | LOCK_NB) != 0 else { return nil }
    return TextFile.read(path + "/lock")?.split(separator: "\n").first.flatMap { pid_t($0) }
  }

  private static func lock(_ folder: String) throws(LaunchError) -> CInt {
    let fd = open(folder + "/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
    guard fd >= 0 else {
      throw LaunchError("cannot write to the folder '\(folder)': \(String(cString: strerror(errno)))")
    }
    var isOurs = flock(fd, LOCK_EX | LOCK_NB) == 0
    // Who only asks whether somebody holds it has it for a moment.
    for _ in 0..<10 where !isOurs {
      usleep(10_000)
      isOurs = flock(fd, LOCK_EX | LOCK_NB) == 0
    }
    guard isOurs else {
      let holder = TextFile.read(folder + "/lock")?.split(separator: "\n").first.map { " (process \($0))" } ?? ""
      close(fd)
      throw LaunchError(
        "another 'millrace up'\(holder) is using \(folder); stop it first, or choose another folder with --data")
    }
    let text = "\(getpid())\n"
    ftruncate(fd, 0)
    _ = write(fd, text, text.utf8.count)
    return fd
  }

  /// Whether a user may pass through every folder down to `path`.
  private static func canReach(_ path: String, _ owner: Owner) -> Bool {
    var prefix = ""
    for part in path.split(separator: "/") {
      prefix += "/" + part
      var status = stat()
      guard stat(prefix, &status) == 0 else { return false }
      let bit: mode_t = status.st_uid == owner.user ? 0o100 : status.st_gid == owner.group ? 0o010 : 0o001
      if status.st_mode & bit == 0 { return false }
    }
    return true
  }

  /// Eight hexadecimal digits that tell one path from another (FNV-1a).
  private static func digest(of path: String) -> String {
    let hash = path.utf8.reduce(0x811C_9DC5 as UInt32) { ($0 ^ UInt32($1)) &* 0x0100_0193 }
    let digits = String(hash, radix: 16)
    return String(repeating: "0", count: 8 - digits.count) + digits
  }
}
