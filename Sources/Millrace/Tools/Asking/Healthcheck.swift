import Glibc
import Reactor

/// `millrace healthcheck`: one HTTP GET with a plain blocking socket, so that it works when nothing else does.
enum Healthcheck {
  private static let timeoutSeconds = 5

  /// Asks `url`, `http://ADDRESS:PORT/path` or `unix:/path/to.sock`, and returns the status line.
  /// - Throws: `CommandError`: 1 if nobody answers or the answer is not 200, 2 if `url` is none.
  static func run(_ url: String) throws(CommandError) -> String {
    guard let (address, path) = parse(url) else {
      throw .usage("'\(url)' is not http://ADDRESS:PORT/path or unix:/path/to.sock")
    }
    let line: String
    do {
      line = try statusLine(of: address, path)
    } catch {
      throw CommandError(message: "\(url): \(error)", exitCode: ExitCode.failure)
    }
    guard line.hasPrefix("HTTP/1.1 200") else {
      throw CommandError(message: "\(url): \(line.isEmpty ? "no answer" : line)", exitCode: ExitCode.failure)
    }
    return line
  }

  static func parse(_ url: String) -> (address: SocketAddress, path: String)? {
    if url.hasPrefix("unix:") { return SocketAddress(url).map { ($0, "/readyz") } }
    guard url.hasPrefix("http://") else { return nil }
    let rest = url.dropFirst(7)
    let slash = rest.firstIndex(of: "/") ?? rest.endIndex
    var authority = String(rest[..<slash])
    if authority.hasPrefix("localhost") { authority = "127.0.0.1" + authority.dropFirst(9) }
    if SocketAddress(authority) == nil { authority += ":80" }
    return SocketAddress(authority).map { ($0, slash == rest.endIndex ? "/readyz" : String(rest[slash...])) }
  }

  private static func statusLine(of address: SocketAddress, _ path: String) throws(SystemError) -> String {
    let fd = try Socket.beginConnect(to: address)
    defer { close(fd) }
    try wait(for: Int16(POLLOUT), fd)
    let code = Socket.connectError(fd)
    guard code == 0 else { throw SystemError(call: "connect", code: code) }
    let request =
      "GET \(path) HTTP/1.1\r\nHost: \(address.isUnix ? "localhost" : "\(address)")\r\nConnection: close\r\n\r\n"
    try systemCall("send") { send(fd, request, request.utf8.count, CInt(MSG_NOSIGNAL)) }
    var line: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 512)
    while !line.contains(0x0D), line.count < 512 {
      try wait(for: Int16(POLLIN), fd)
      let count = try systemCall("recv") { recv(fd, &buffer, buffer.count, 0) }
      if count == 0 { break }
      line += buffer[..<count]
    }
    return String(decoding: line.prefix { $0 != 0x0D }, as: UTF8.self)
  }

  private static func wait(for events: Int16, _ fd: CInt) throws(SystemError) {
    var entry = pollfd(fd: fd, events: events, revents: 0)
    if try systemCall("poll", { poll(&entry, 1, CInt(timeoutSeconds * 1000)) }) == 0 {
      throw SystemError(call: "poll", code: ETIMEDOUT)
    }
  }
}
