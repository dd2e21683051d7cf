import Glibc

/// What is written for whoever has called the program.
enum Output {
  /// Writes all of `text` to `fd`.
  static func write(_ text: String, to fd: CInt = STDOUT_FILENO) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let written = bytes.withUnsafeBytes { Glibc.write(fd, $0.baseAddress, $0.count) }
      // Nobody reads the output any more: there is nowhere to say so.
      guard written > 0 || errno == EINTR else { return }
      bytes = bytes.dropFirst(max(written, 0))
    }
  }
}
