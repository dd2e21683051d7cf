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
      if try StoreFolder.read(path) == nil { try StoreFolder.write(path, wished) }
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
    guard let text else { throw .foreign("there is no store in '\(path)'") }
    let words = text.split { $0 == " " || $0 == "\n" }
    guard words.count == 4, words[0] == "store", words[1] == "1", words[2] == "partitions",
      let count = Int(words[3]), Limits.partitions.contains(count)
    else { throw .foreign("'\(path)/store' was not written by this program") }
    (self.path, partitions) = (path, count)
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
    let draft = "\(path)/store.\(getpid())"
    let fd = try systemCall("open") { open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644) }
    defer {
      close(fd)
      unlink(draft)
    }
    let text = Array("store 1\npartitions \(partitions)\n".utf8)
    try systemCall("write") { Glibc.write(fd, text, text.count) }
    try systemCall("fsync") { fsync(fd) }
    if link(draft, path + "/store") != 0, errno != EEXIST { throw SystemError(call: "link", code: errno) }
    let folder = try systemCall("open") { open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    defer { close(folder) }
    try systemCall("fsync") { fsync(folder) }
  }
}
