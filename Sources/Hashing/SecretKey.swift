import Basics
import Glibc

/// A 32-byte key that never shows itself: printing, reflecting and interpolating it give a placeholder.
///
/// One secret file serves several purposes, so users of a key take one derived for their purpose and never share raw
/// keys between algorithms.
public struct SecretKey: Sendable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  let bytes: [UInt8]

  /// The key whose bytes are `bytes`, nil unless there are 32.
  public init?(bytes: [UInt8]) {
    guard bytes.count == Limits.keyBytes else { return nil }
    self.bytes = bytes
  }

  /// The key that `hex` spells in 64 hexadecimal digits, white space around them ignored.
  /// - Throws: `malformedKey`.
  public init(hex: [UInt8]) throws(HashingError) {
    let isBlank: (UInt8) -> Bool = { $0 == 0x20 || (0x09...0x0D).contains($0) }
    let trimmed = hex.drop(while: isBlank).reversed().drop(while: isBlank).reversed()
    guard let bytes = Hex.decode(Array(trimmed)), let key = SecretKey(bytes: bytes) else { throw .malformedKey }
    self = key
  }

  /// A new key from the system's random source.
  public static func random() -> SecretKey {
    SecretKey(bytes: SystemRandom.bytes(Limits.keyBytes))!
  }

  /// Reads a key from the file at `path`.
  /// - Throws: `keyFile` if it cannot be read, `malformedKey` if it holds no key.
  public static func load(path: String) throws(HashingError) -> SecretKey {
    let fd = open(path, O_RDONLY | O_CLOEXEC)
    guard fd >= 0 else { throw .keyFile(code: errno) }
    defer { close(fd) }
    var text = [UInt8](repeating: 0, count: Limits.keyFileBytesMax)
    let count = read(fd, &text, text.count)
    guard count >= 0 else { throw .keyFile(code: errno) }
    return try SecretKey(hex: Array(text[..<count]))
  }

  /// Reads the key from the file at `path`; if there is none, a new random one is put there that only its owner can
  /// read. Two processes that do so at once end with the same key.
  /// - Throws: `keyFile`, `malformedKey`.
  public static func loadOrCreate(path: String) throws(HashingError) -> SecretKey {
    do {
      return try load(path: path)
    } catch .keyFile(code: ENOENT) {}
    // Written aside and linked into place: nobody ever sees a half-written key.
    let draft = "\(path).\(getpid())"
    // What a process with this number has left that was killed here.
    unlink(draft)
    let fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard fd >= 0 else { throw .keyFile(code: errno) }
    defer { unlink(draft) }
    let text = Hex.encode(random().bytes) + [0x0A]
    let written = write(fd, text, text.count) == text.count && fsync(fd) == 0
    let code = errno
    close(fd)
    guard written else { throw .keyFile(code: code) }
    guard link(draft, path) == 0 || errno == EEXIST else { throw .keyFile(code: errno) }
    return try load(path: path)
  }

  /// The bytes themselves, for whoever writes them into a file.
  public var revealed: [UInt8] { bytes }

  /// A placeholder.
  public var description: String { "<secret>" }

  /// A placeholder.
  public var debugDescription: String { description }

  /// Nothing.
  public var customMirror: Mirror { Mirror(self, children: EmptyCollection()) }
}
