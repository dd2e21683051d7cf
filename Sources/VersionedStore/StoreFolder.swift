import Glibc
import Reactor

/// The folder that a store's files are in, and how many partitions it was made with: that never changes, for it says
/// where each key is.
public struct StoreFolder: Sendable {
  /// Where it is.
  public let path: String
  /// How many partitions there are.
  public let partitions: Int

  /// The folder at `path`, which is made with `wished` partitions unless it is there.
  /// - Parameter isWish: whether it must have so many.
  /// - Throws: `StoreError`.
  public init(_ path: String, partitions wished: Int, isWish: Bool = false) throws(StoreError) {
    do throws(SystemError) {
      try StoreFolder.make(path)
      if try StoreFolder.read(path) == nil {
        // Of several who make a store at once one may be further already.
        var mayMake = !StoreFolder.hasPartitions(path)
        if !mayMake { mayMake = try StoreFolder.read(path) != nil }
        if mayMake { try StoreFolder.write(path, wished) }
      }
    } catch {
      throw .failed("'\(path)': \(error)")
    }
    try self.init(existing: path)
    if isWish, partitions != wished {
      throw .foreign("the store in '\(path)' was made with \(partitions) partitions, not \(wished), and keeps them")
    }
  }

  /// The folder at `path`, which must be that of a store.
  /// - Throws: `StoreError`.
  public init(existing path: String) throws(StoreError) {
    let text: String?
    do throws(SystemError) { text = try StoreFolder.read(path) } catch { throw .failed("'\(path)': \(error)") }
    guard let text else {
      // Served as it is, what it lacks would pass for what was never there.
      guard !StoreFolder.hasPartitions(path) else {
        throw .foreign("'\(path)' has partitions and no file 'store': a backup was broken off, or that file is lost")
      }
      throw .foreign("there is no store in '\(path)'")
    }
    let words = text.split { $0 == " " || $0 == "\n" }
    guard words.count == 4, words[0] == "store", words[1] == "1", words[2] == "partitions",
      let count = Int(words[3]), Limits.partitions.contains(count)
    else { throw .foreign("'\(path)/store' was not written by this program") }
    (self.path, partitions) = (path, count)
  }

  /// A folder at `path` that becomes a store of `partitions` partitions when all of them are there, with `finish`.
  /// - Throws: `StoreError`, also if there is one.
  init(unfinished path: String, partitions: Int) throws(StoreError) {
    let isTaken: Bool
    do throws(SystemError) {
      try StoreFolder.make(path)
      isTaken = try StoreFolder.read(path) != nil || StoreFolder.hasPartitions(path)
    } catch {
      throw .failed("'\(path)': \(error)")
    }
    guard !isTaken else { throw .foreign("there is a store in '\(path)' already, or a part of one") }
    (self.path, self.partitions) = (path, partitions)
  }

  /// All partitions are there.
  func finish() throws(StoreError) {
    do throws(SystemError) { try StoreFolder.write(path, partitions) } catch { throw .failed("'\(path)': \(error)") }
  }

  func place(of partition: Int) -> PartitionPlace {
    PartitionPlace(folder: path, partition: partition, partitions: partitions)
  }

  /// Who has each partition; nil for those that nobody has.
  var holders: [String?] { (0..<partitions).map { PartitionLock.holder(place(of: $0).lockPath) } }

  private static func make(_ path: String) throws(SystemError) {
    var built = path.hasPrefix("/") ? "/" : ""
    for part in path.split(separator: "/") {
      built += part + "/"
      if mkdir(built, 0o755) != 0, errno != EEXIST { throw SystemError(call: "mkdir", code: errno) }
    }
  }

  private static func hasPartitions(_ path: String) -> Bool {
    Limits.partitions.contains { number in
      let place = PartitionPlace(folder: path, partition: number - 1, partitions: Limits.partitions.upperBound)
      return access(place.path, F_OK) == 0
    }
  }

  private static func read(_ path: String) throws(SystemError) -> String? {
    let fd = open(path + "/store", O_RDONLY | O_CLOEXEC)
    guard fd >= 0 else {
      if errno == ENOENT { return nil }
      throw SystemError(call: "open", code: errno)
    }
    defer { close(fd) }
    var bytes = [UInt8](repeating: 0, count: 256)
    let count = try systemCall("read") { Glibc.read(fd, &bytes, bytes.count) }
    return String(decoding: bytes[..<count], as: UTF8.self)
  }

  /// Of several who make a store at the same time one is first, and what it has written is whole.
  private static func write(_ path: String, _ partitions: Int) throws(SystemError) {
    // Its name is nobody else's: in two containers on one volume a process may have the same number.
    var template = Array("\(path)/store.XXXXXX".utf8CString)
    let fd = try systemCall("mkstemp") { mkstemp(&template) }
    try systemCall("fcntl") { fcntl(fd, F_SETFD, FD_CLOEXEC) }
    let draft = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    defer {
      close(fd)
      unlink(draft)
    }
    try systemCall("fchmod") { fchmod(fd, 0o644) }
    let text = Array("store 1\npartitions \(partitions)\n".utf8)
    try systemCall("write") { Glibc.write(fd, text, text.count) }
    try systemCall("fsync") { fsync(fd) }
    if link(draft, path + "/store") != 0, errno != EEXIST { throw SystemError(call: "link", code: errno) }
    let folder = try systemCall("open") { open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    defer { close(folder) }
    try systemCall("fsync") { fsync(folder) }
  }
}
