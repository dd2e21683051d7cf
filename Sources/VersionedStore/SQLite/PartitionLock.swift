import Glibc
import Reactor

/// Who has a partition: the kernel's lock on a file beside it, which goes with the process that has it, however that
/// ends, and is inherited by nobody. Not on the partition's file itself: whoever closes that gives up SQLite's locks.
///
///     server-1 4711                     the holder and its process; only of interest while the lock is held
///     00000000000000001234              at byte 256: the newest revision that was acknowledged
///
/// The revision is written behind each commit, so a file that has less has lost something; that it is not synced makes
/// it too small at the worst.
final class PartitionLock: Sendable {
  private static let markOffset = 256
  private static let markDigits = 20
  private let fd: CInt

  enum Outcome: Sendable {
    case taken(PartitionLock)
    case held(by: String)
  }

  /// Takes the lock in the file at `path` for `holder`, unless somebody has it. It waits for a file.
  static func take(_ path: String, for holder: String) throws(SystemError) -> Outcome {
    let fd = try systemCall("open") { open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644) }
    let lock = PartitionLock(fd)
    // Whoever only looks has it for a moment.
    for look in 1... {
      do throws(SystemError) {
        try systemCall("flock") { flock(fd, LOCK_EX | LOCK_NB) }
        break
      } catch {
        guard error.code == EWOULDBLOCK else { throw error }
        if look == Limits.lockLooks { return .held(by: name(in: fd)) }
        usleep(Limits.lockPauseUs)
      }
    }
    lock.write(Array("\(holder) \(getpid())\n".utf8), filledTo: PartitionLock.markOffset, at: 0)
    return .taken(lock)
  }

  /// Who has the lock in the file at `path`, nil if nobody has.
  static func holder(_ path: String) -> String? {
    let fd = open(path, O_RDONLY | O_CLOEXEC)
    guard fd >= 0 else { return nil }
    defer { close(fd) }
    // Shared with others who look; a server that comes meanwhile tries again.
    guard flock(fd, LOCK_SH | LOCK_NB) != 0, errno == EWOULDBLOCK else { return nil }
    return name(in: fd)
  }

  private init(_ fd: CInt) {
    self.fd = fd
  }

  deinit { close(fd) }

  /// Gives the lock back, whoever still has the object.
  func release() { flock(fd, LOCK_UN) }

  /// The newest revision that was acknowledged, 0 if none was.
  var mark: Int64 {
    Int64(PartitionLock.text(in: fd, PartitionLock.markDigits, at: PartitionLock.markOffset)) ?? 0
  }

  /// Revisions up to `revision` are about to be acknowledged.
  func mark(_ revision: Int64) {
    let digits = String(revision)
    let padding = String(repeating: "0", count: PartitionLock.markDigits - digits.count)
    write(Array((padding + digits + "\n").utf8), filledTo: 0, at: PartitionLock.markOffset)
  }

  private func write(_ bytes: [UInt8], filledTo length: Int, at offset: Int) {
    let filled = bytes + [UInt8](repeating: 0x20, count: max(0, length - bytes.count))
    // On a full disk there is no name and no mark, but the lock holds all the same.
    _ = filled.withUnsafeBytes { pwrite(fd, $0.baseAddress, $0.count, off_t(offset)) }
  }

  private static func text(in fd: CInt, _ length: Int, at offset: Int) -> String {
    var bytes = [UInt8](repeating: 0, count: length)
    let count = bytes.withUnsafeMutableBytes { pread(fd, $0.baseAddress, $0.count, off_t(offset)) }
    return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
  }

  private static func name(in fd: CInt) -> String {
    let line = text(in: fd, markOffset, at: 0).prefix { $0 != "\n" }
    let name = line.lastIndex(of: " ").map { String(line[..<$0]) } ?? ""
    return name.isEmpty ? "another process" : name
  }
}
