import Glibc

/// Listening sockets that whoever started this process has opened for it, after sd_listen_fds(3): descriptors from 3
/// on, `LISTEN_FDS` of them, meant for the process `LISTEN_PID`. They outlive it: while one process ends and the next
/// one starts, connections wait in the kernel, and nobody is refused.
public enum InheritedSockets {
  private static let first: CInt = 3
  private static let all: [(address: SocketAddress, fd: CInt)] = found(getenv("LISTEN_PID"), getenv("LISTEN_FDS"))

  /// Whether a socket that listens on `address` was handed over.
  static func contain(_ address: SocketAddress) -> Bool { all.contains { $0.address == address } }

  /// A descriptor of its own for the caller of a socket that listens on `address`, nil if none was handed over. If
  /// there are several, the kernel spreads connections over them: number `index` takes its own, in turn.
  /// - Throws: `SystemError` if the process is out of descriptors.
  public static func take(_ address: SocketAddress, index: Int = 0) throws(SystemError) -> CInt? {
    let matching = all.filter { $0.address == address }
    guard !matching.isEmpty else { return nil }
    let fd = matching[index % matching.count].fd
    return try systemCall("fcntl") { fcntl(fd, F_DUPFD_CLOEXEC, 0) }
  }

  private static func found(
    _ process: UnsafeMutablePointer<CChar>?, _ count: UnsafeMutablePointer<CChar>?
  ) -> [(address: SocketAddress, fd: CInt)] {
    guard let process, pid_t(String(cString: process)) == getpid(),
      let count, let count = CInt(String(cString: count)), count > 0
    else { return [] }
    return (first..<(first + count)).compactMap { fd in
      var isListening: CInt = 0
      var size = socklen_t(MemoryLayout<CInt>.size)
      guard getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &size) == 0, isListening != 0 else { return nil }
      _ = fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK)
      _ = fcntl(fd, F_SETFD, FD_CLOEXEC)
      return (Socket.localAddress(fd), fd)
    }
  }
}
