import Basics
import Glibc
import Reactor

/// How one knows that a process is up.
enum Readiness: Equatable {
  /// What a process says that was asked.
  enum Answer {
    /// It is up.
    case ready
    /// It answers, and is not.
    case unready
    /// It does not answer in time.
    case none

    var words: String {
      switch self {
      case .ready: "well"
      case .unready: "not ready"
      case .none: "no answer"
      }
    }
  }

  /// PostgreSQL has written so into its `postmaster.pid`, as pg_ctl(1) reads it, and answers who asks for encryption.
  case postmaster(pidFile: String)
  /// Redis answers a PING.
  case redis(SocketAddress)
  /// `GET /readyz` is answered with 200.
  case http(SocketAddress)

  /// One in text, as `text` writes it; nil for anything else.
  init?(_ text: String) {
    let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
    guard parts.count == 2 else { return nil }
    switch parts[0] {
    case "postmaster": self = .postmaster(pidFile: parts[1])
    case "redis":
      guard let address = SocketAddress(parts[1]) else { return nil }
      self = .redis(address)
    case "http":
      guard let address = SocketAddress(parts[1]) else { return nil }
      self = .http(address)
    default: return nil
    }
  }

  var text: String {
    switch self {
    case .postmaster(let path): "postmaster=\(path)"
    case .redis(let address): "redis=\(address)"
    case .http(let address): "http=\(address)"
    }
  }

  static func == (left: Readiness, right: Readiness) -> Bool { left.text == right.text }

  func isReady(pid: pid_t, on reactor: isolated Reactor) async -> Bool {
    await answer(pid: pid, on: reactor) == .ready
  }

  /// Asks the process `pid`.
  func answer(pid: pid_t, on reactor: isolated Reactor) async -> Answer {
    switch self {
    case .postmaster(let path):
      // Line 1 is the process, line 8 its state, filled up with blanks.
      let lines = TextFile.read(path)?.split(separator: "\n", omittingEmptySubsequences: false) ?? []
      guard lines.count >= 8, lines[0] == "\(pid)" else { return .none }
      guard lines[7].hasPrefix("ready") else { return .unready }
      // Lines 4 and 5 are the port and the folder of the socket.
      guard let address = SocketAddress(unixPath: "\(lines[4])/.s.PGSQL.\(lines[3])") else { return .none }
      return Readiness.judge(await answer(of: address, to: Readiness.sslRequest, bytes: 1, on: reactor), "N")
    case .redis(let address):
      return Readiness.judge(await answer(of: address, to: Array("PING\r\n".utf8), on: reactor), "+PONG")
    case .http(let address):
      let request = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
      return Readiness.judge(await answer(of: address, to: Array(request.utf8), on: reactor), "HTTP/1.1 200")
    }
  }

  /// SSLRequest of PostgreSQL's protocol (PostgreSQL 15, §55.7). A process of its own answers it, before anybody has to
  /// log in and also when there is no more room, and nothing is written into the log: over a Unix socket always with
  /// `N`.
  private static let sslRequest: [UInt8] = [0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x2F]

  private static func judge(_ answer: String, _ wanted: String) -> Answer {
    answer.hasPrefix(wanted) ? .ready : answer.isEmpty ? .none : .unready
  }

  /// The beginning of what `address` answers, empty if nothing: its first line, or its first `bytes`.
  private func answer(
    of address: SocketAddress, to question: [UInt8], bytes: Int = .max, on reactor: isolated Reactor
  ) async -> String {
    let deadline = reactor.now + .milliseconds(Limits.probeTimeoutMs)
    guard let fd = try? await Connector.connect(to: address, until: deadline, on: reactor) else { return "" }
    guard let stream = try? Stream(adopting: fd, on: reactor) else {
      close(fd)
      return ""
    }
    defer { stream.close(on: reactor) }
    stream.write(question, on: reactor)
    while !stream.input.withReadable({ $0.count >= bytes || $0.contains(0x0A) }) {
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
