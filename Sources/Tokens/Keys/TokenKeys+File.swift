import Basics
import Glibc

/// The file of keys: a key a line, newest first; empty lines and those that begin with `#` mean nothing.
extension TokenKeys {
  /// What `text` holds.
  /// - Throws: `malformed`, `count`.
  init(text: String) throws(Failure) {
    var keys: [TokenKey] = []
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      let words = line.split { $0 == " " || $0 == "\t" || $0 == "\r" }
      guard let first = words.first, !first.hasPrefix("#") else { continue }
      guard let key = TokenKey(words: words), !keys.contains(where: { $0.id == key.id }) else {
        throw .malformed(line: index + 1)
      }
      keys.append(key)
    }
    guard 1...Limits.keysMax ~= keys.count else { throw .count }
    self.init(keys)
  }

  /// The text of such a file.
  public var text: String {
    "# Keys of tokens, newest first. The first signs; all are believed, former ones until the time behind them.\n"
      + "# 'millrace token rotate' writes this file.\n" + keys.map { $0.line + "\n" }.joined()
  }

  /// Reads the file at `path`.
  /// - Throws: `Failure`.
  public static func load(path: String) throws(Failure) -> TokenKeys {
    let fd = open(path, O_RDONLY | O_CLOEXEC)
    guard fd >= 0 else { throw .file(code: errno) }
    defer { close(fd) }
    var bytes = [UInt8](repeating: 0, count: Limits.keyFileBytesMax + 1)
    defer { SecretBytes.wipe(&bytes) }
    let count = read(fd, &bytes, bytes.count)
    guard count >= 0 else { throw .file(code: errno) }
    guard count <= Limits.keyFileBytesMax else { throw .count }
    return try TokenKeys(text: String(decoding: bytes[..<count], as: UTF8.self))
  }

  /// Reads the file at `path`; if there is none, one with a new key is put there.
  /// - Throws: `Failure`.
  public static func loadOrCreate(path: String, _ algorithm: TokenAlgorithm) throws(Failure) -> TokenKeys {
    do {
      return try load(path: path)
    } catch .file(code: ENOENT) {}
    let keys = TokenKeys.new(algorithm)
    try keys.store(path: path)
    return keys
  }

  /// Puts the keys into the file at `path`, in one step: whoever reads it sees all of the former keys or all of these.
  /// A new file can be read by its owner alone; one that was there keeps its owner and who may read it.
  /// - Throws: `file`.
  public func store(path: String) throws(Failure) {
    let draft = "\(path).\(getpid())"
    // What a process with this number has left that was killed here.
    unlink(draft)
    let fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard fd >= 0 else { throw .file(code: errno) }
    var former = stat()
    // Root rotates the keys of services that run as others; nobody else may give a file away, or has to.
    if stat(path, &former) == 0 {
      _ = fchown(fd, former.st_uid, former.st_gid)
      // Who may read it is not for a rotation to say: in a container it may have to be others.
      _ = fchmod(fd, former.st_mode & 0o777)
    }
    let bytes = Array(text.utf8)
    let isWritten = write(fd, bytes, bytes.count) == bytes.count && fsync(fd) == 0
    let code = errno
    close(fd)
    guard isWritten, rename(draft, path) == 0 else {
      let reason = isWritten ? errno : code
      unlink(draft)
      throw .file(code: reason)
    }
  }
}
