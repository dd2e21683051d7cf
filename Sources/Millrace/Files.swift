import Glibc

/// Reads what configuration needs from the system.
enum Files {
  private static let bytesMax = 1 << 20

  /// What there is at a path.
  enum Content: Equatable {
    case text(String)
    case missing
    /// It is there, but not to be read, for the reason given.
    case unreadable(String)
  }

  /// The file at `path`, which has to be UTF-8 and no longer than 1 MiB.
  static func content(_ path: String) -> Content {
    let fd = open(path, O_RDONLY | O_CLOEXEC)
    guard fd >= 0 else {
      return errno == ENOENT || errno == ENOTDIR ? .missing : .unreadable(String(cString: strerror(errno)))
    }
    defer { close(fd) }
    var bytes = [UInt8](repeating: 0, count: bytesMax + 1)
    var count = 0
    while count < bytes.count {
      let got = bytes.withUnsafeMutableBytes { read(fd, $0.baseAddress! + count, $0.count - count) }
      if got < 0 { return .unreadable(String(cString: strerror(errno))) }
      if got == 0 { break }
      count += got
    }
    guard count <= bytesMax else { return .unreadable("it is longer than 1 MiB") }
    guard let text = String(validating: bytes[..<count], as: UTF8.self) else { return .unreadable("it is not UTF-8") }
    return .text(text)
  }

  /// All of standard input.
  static func standardInput() -> [UInt8] {
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = read(STDIN_FILENO, &piece, piece.count)
      if count > 0 { bytes += piece[..<count] } else if count == 0 || errno != EINTR { return bytes }
    }
  }

  /// The text of the file at `path`, nil if there is none or it cannot be read.
  static func text(_ path: String) -> String? {
    if case .text(let text) = content(path) { text } else { nil }
  }

  /// `path` from the root on.
  static func absolute(_ path: String) -> String {
    if path.hasPrefix("/") { return path }
    guard let folder = getcwd(nil, 0) else { return path }
    defer { free(folder) }
    return String(cString: folder) + "/" + path
  }

  /// The variables of this process.
  static var environment: [String: String] {
    var variables: [String: String] = [:]
    var next = environ
    while let entry = next.pointee {
      let text = String(cString: entry)
      if let equals = text.firstIndex(of: "=") {
        variables[String(text[..<equals])] = String(text[text.index(after: equals)...])
      }
      next += 1
    }
    return variables
  }

  /// The path of the running program.
  static var executable: String {
    var path = [CChar](repeating: 0, count: Int(PATH_MAX))
    let count = readlink("/proc/self/exe", &path, path.count - 1)
    return count > 0 ? String(decoding: path[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self) : "millrace"
  }
}
