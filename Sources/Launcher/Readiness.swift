import Basics
import Glibc
import Reactor

/// How one knows that a process is up.
enum Readiness {
  /// PostgreSQL has written so into its `postmaster.pid`, as pg_ctl(1) reads it.
  case postmaster(pidFile: String)
  /// Redis answers a PING.
  case redis(SocketAddress)
  /// `GET /readyz` is answered with 200.
  case http(SocketAddress)

  func isReady(pid: pid_t, on reactor: isolated Reactor) async -> Bool {
    switch self {
    case .postmaster(let path):
      // Line 1 is the process, line 8 its state, filled up with blanks.
      let lines = TextFile.read(path)?.split(separator: "\n", omittingEmptySubsequences: false) ?? []
      return lines.count >= 8 && lines[0] == "\(pid)" && lines[7].hasPrefix("ready")
    case .redis(let address):
      return await answer(of: address, to: "PING\r\n", on: reactor).hasPrefix("+PONG")
    case .http(let address):
      let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
      return await answer(of: address, to: request, on: reactor).hasPrefix("HTTP/1.1 200")
    }
  }

  /// The beginning of what `address` answers, empty if nothing.
  private func answer(of address: SocketAddress, to question: String, on reactor: isolated Reactor) async -> String {
    let deadline = reactor.now + .milliseconds(Limits.probeTimeoutMs)
    guard let fd = try? await Connector.connect(to: address, until: deadline, on: reactor) else { return "" }
    guard let stream = try? Stream(adopting: fd, on: reactor) else {
      close(fd)
      return ""
    }
    defer { stream.close(on: reactor) }
    stream.write(Array(question.utf8), on: reactor)
    while !stream.input.withReadable({ $0.contains(0x0A) }) {
      guard await stream.read(until: deadline, on: reactor) == .bytes else { break }
    }
    return stream.input.withReadable { String(decoding: $0.prefix(16), as: UTF8.self) }
  }
}

/// Small files read and written at once; only the launcher waits for a disk on its reactor, where nothing else waits.
enum TextFile {
  static func read(_ path: String) -> String? {
    let fd = open(path, O_RDONLY | O_CLOEXEC)
    guard fd >= 0 else { return nil }
    defer { close(fd) }
    var bytes = [UInt8](repeating: 0, count: 65_536)
    let count = Glibc.read(fd, &bytes, bytes.count)
    return count >= 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
  }

  /// Replaces the file at `path`, so that everybody may read it whatever the umask says, or appends to it.
  static func write(_ text: String, to path: String, appending: Bool = false) throws(SystemError) {
    let flags = O_WRONLY | O_CREAT | O_CLOEXEC | (appending ? O_APPEND : O_TRUNC)
    let fd = try systemCall("open") { open(path, flags, 0o644) }
    defer { close(fd) }
    if !appending { try systemCall("fchmod") { fchmod(fd, 0o644) } }
    try systemCall("write") { Glibc.write(fd, text, text.utf8.count) }
  }
}
