import Glibc
import Reactor

/// What lies where:
///
///     .millrace/lock          held by the one launcher that uses the folder
///     .millrace/secret.key    seals secret inputs; made at the first start, mode 0600
///     .millrace/postgres/     PostgreSQL's data
///     .millrace/redis/        Redis' working folder
///     .millrace/run/          Unix sockets
///
/// PostgreSQL refuses to run as root, so for root everything of PostgreSQL belongs to an unprivileged user. Where that
/// user cannot reach the folder (below /root, say), or a socket's path would be longer than the kernel takes, the parts
/// concerned move to a place that is named after the folder.
struct DataFolder {
  let path: String
  let run: String
  let postgres: String
  /// Who PostgreSQL runs as, nil for the user who called.
  let serverUser: String?
  private let lockFD: CInt

  var redis: String { path + "/redis" }
  var secretKey: String { path + "/secret.key" }

  /// Makes what is missing and takes the folder for this process.
  /// - Throws: `LaunchError`, if another launcher has it or it cannot be written.
  init(_ requested: String) throws(LaunchError) {
    try DataFolder.make(requested, mode: 0o755)
    guard let resolved = realpath(requested, nil) else { throw LaunchError("cannot use the folder '\(requested)'") }
    let path = String(cString: resolved)
    free(resolved)
    self.path = path
    lockFD = try DataFolder.lock(path)
    var user: UnsafeMutablePointer<passwd>?
    if geteuid() == 0 { user = getpwnam("postgres") ?? getpwnam("nobody") }
    serverUser = user.map { String(cString: $0.pointee.pw_name) }
    let owner = user.map { (uid: $0.pointee.pw_uid, gid: $0.pointee.pw_gid) }
    let isReachable = owner.map { DataFolder.canReach(path, uid: $0.uid, gid: $0.gid) } ?? true
    let name = "millrace-" + DataFolder.digest(of: path)
    postgres = isReachable ? path + "/postgres" : "/var/lib/\(name)/postgres"
    let isShort = path.utf8.count + 4 + 1 + Limits.socketNameBytes <= Limits.socketPathBytesMax
    run = isReachable && isShort ? path + "/run" : "/tmp/\(name)"
    if !isReachable { try DataFolder.make("/var/lib/\(name)", mode: 0o755) }
    try DataFolder.make(run, mode: 0o700, owner: owner)
    try DataFolder.make(redis, mode: 0o700)
  }

  /// Makes a folder for PostgreSQL to fill.
  func makeServerFolder(_ path: String) throws(LaunchError) {
    let owner = serverUser.flatMap { getpwnam($0) }.map { ($0.pointee.pw_uid, $0.pointee.pw_gid) }
    try DataFolder.make(path, mode: 0o700, owner: owner)
  }

  private static func make(_ path: String, mode: mode_t, owner: (uid: uid_t, gid: gid_t)? = nil) throws(LaunchError) {
    if mkdir(path, mode) != 0, errno != EEXIST {
      throw LaunchError("cannot make the folder '\(path)': \(String(cString: strerror(errno)))")
    }
    var status = stat()
    let expected = owner?.uid ?? geteuid()
    guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR || owner == nil && mode == 0o755 else {
      throw LaunchError("'\(path)' is not a folder")
    }
    if let owner, status.st_uid != owner.uid { _ = chown(path, owner.uid, owner.gid) }
    guard mode != 0o700 || lstat(path, &status) == 0 && status.st_uid == expected else {
      throw LaunchError("the folder '\(path)' belongs to somebody else")
    }
    if mode == 0o700 { chmod(path, mode) }
  }

  private static func lock(_ folder: String) throws(LaunchError) -> CInt {
    let fd = open(folder + "/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
    guard fd >= 0 else {
      throw LaunchError("cannot write to the folder '\(folder)': \(String(cString: strerror(errno)))")
    }
    guard flock(fd, LOCK_EX | LOCK_NB) == 0 else {
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
  private static func canReach(_ path: String, uid: uid_t, gid: gid_t) -> Bool {
    var prefix = ""
    for part in path.split(separator: "/") {
      prefix += "/" + part
      var status = stat()
      guard stat(prefix, &status) == 0 else { return false }
      let bit: mode_t = status.st_uid == uid ? 0o100 : status.st_gid == gid ? 0o010 : 0o001
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
