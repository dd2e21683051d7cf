import Glibc
import TestSupport

/// A real redis-server of a test's own, with the repository's redis.conf, on a Unix socket in a temporary folder.
final class RedisServer: @unchecked Sendable {
  // Safe because: only the test that made it starts and stops it, one call after the other.
  let folder: String
  private(set) var pid: pid_t = 0

  var socketPath: String { folder + "/redis.sock" }
  var endpoint: String { "unix:" + socketPath }

  init() {
    var template = Array("/tmp/millrace-redis-XXXXXX".utf8CString)
    precondition(mkdtemp(&template) != nil, "no temporary folder")
    folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    start()
  }

  /// Starts the server and returns when it accepts connections.
  func start(_ extra: [String] = []) {
    let configuration = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined() + "/redis.conf"
    let arguments =
      ["redis-server", configuration, "--unixsocket", socketPath, "--dir", folder, "--loglevel", "warning"] + extra
    let started = try? ChildProcess.start("redis-server", Array(arguments.dropFirst()))
    pid = started ?? 0
    precondition(pid > 0, "redis-server is not installed")
    // Asking costs one of the server's connections, so it is not asked again once it has answered.
    for _ in 0..<2000 {
      if accepts() { return }
      usleep(5000)
    }
    preconditionFailure("redis-server did not start")
  }

  func signal(_ signal: CInt) { kill(pid, signal) }

  /// Stops the server at once.
  func kill9() {
    guard pid > 0 else { return }
    signal(SIGKILL)
    waitpid(pid, nil, 0)
    pid = 0
    unlink(socketPath)
  }

  deinit {
    kill9()
    rmdir(folder)
  }

  private func accepts() -> Bool {
    let fd = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
    defer { close(fd) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(socketPath.utf8)) }
    return withUnsafePointer(to: address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(fd, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
      }
    }
  }
}
