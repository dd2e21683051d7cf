import CLinux
import Glibc

/// Makes sockets the way every room here wants them: non-blocking, closed on exec, without Nagle's delay.
public enum Socket {
  /// A socket that listens on `address`; with `reusePort` several reactors may each have one, and the kernel spreads
  /// connections over them. A stale Unix socket file that nobody listens on is replaced.
  /// - Throws: `SystemError`: `EADDRINUSE` if another process listens there, `EACCES`, …
  public static func listen(on address: SocketAddress, reusePort: Bool = false) throws(SystemError) -> CInt {
    let fd = try open(address.family)
    do {
      var one: CInt = 1
      let size = socklen_t(MemoryLayout<CInt>.size)
      if let path = address.unixPath {
        try removeStale(path, address)
      } else {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, size)
        if reusePort { try systemCall("setsockopt") { setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, size) } }
      }
      try systemCall("bind") { address.withSockaddr { bind(fd, $0, $1) } }
      try systemCall("listen") { Glibc.listen(fd, Limits.backlog) }
    } catch {
      close(fd)
      throw error
    }
    return fd
  }

  /// Begins to connect; the descriptor becomes writable when the attempt has ended, and `connectError` tells how.
  /// - Throws: `SystemError` if the attempt fails at once: `ECONNREFUSED`, `ENOENT`, `EAGAIN` (a Unix listener whose
  ///   backlog is full), `EMFILE`, …
  public static func beginConnect(to address: SocketAddress) throws(SystemError) -> CInt {
    let fd = try open(address.family)
    do {
      if !address.isUnix { setNoDelay(fd) }
      try systemCall("connect") {
        let result = address.withSockaddr { connect(fd, $0, $1) }
        return result == -1 && errno == EINPROGRESS ? 0 : result
      }
    } catch {
      close(fd)
      throw error
    }
    return fd
  }

  /// The reason a connect that had begun failed, 0 if it succeeded.
  ///
  /// A connect to a port of this machine where nobody listens may be given that very port as its own, and then meets
  /// itself (RFC 9293 §3.5, simultaneous open): that counts as refused.
  public static func connectError(_ fd: CInt) -> CInt {
    var code: CInt = 0
    var size = socklen_t(MemoryLayout<CInt>.size)
    guard getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) == 0 else { return errno }
    if code == 0 {
      let local = localAddress(fd)
      if !local.isUnix, local == peerAddress(fd) { return ECONNREFUSED }
    }
    return code
  }

  /// Sends small writes at once (RFC 896 is for terminals).
  static func setNoDelay(_ fd: CInt) {
    var one: CInt = 1
    setsockopt(fd, CInt(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<CInt>.size))
  }

  /// Has the kernel drop who wants to connect to `fd`, a listening TCP socket, from now on: without an answer they ask
  /// again about a second later. Connections that are being made go on.
  static func dropNewcomers(_ fd: CInt) {
    // SO_ATTACH_FILTER (socket(7)): the program sees a segment from its TCP header on; of the flags, SYN and ACK.
    var program = [
      sock_filter(code: UInt16(BPF_LD | BPF_B | BPF_ABS), jt: 0, jf: 0, k: 13),
      sock_filter(code: UInt16(BPF_ALU | BPF_AND | BPF_K), jt: 0, jf: 0, k: 0x12),
      sock_filter(code: UInt16(BPF_JMP | BPF_JEQ | BPF_K), jt: 0, jf: 1, k: 0x02),
      sock_filter(code: UInt16(BPF_RET | BPF_K), jt: 0, jf: 0, k: 0),
      sock_filter(code: UInt16(BPF_RET | BPF_K), jt: 0, jf: 0, k: .max),
    ]
    program.withUnsafeMutableBufferPointer {
      var filter = sock_fprog(len: UInt16($0.count), filter: $0.baseAddress)
      setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, socklen_t(MemoryLayout<sock_fprog>.size))
    }
  }

  /// Has `close` reset the connection instead of ending it in order (SO_LINGER 0, socket(7)).
  static func resetOnClose(_ fd: CInt) {
    var option = linger(l_onoff: 1, l_linger: 0)
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
  }

  /// Where `fd` listens or is connected from.
  public static func localAddress(_ fd: CInt) -> SocketAddress {
    filled { getsockname(fd, $0, $1) }
  }

  private static func peerAddress(_ fd: CInt) -> SocketAddress {
    filled { getpeername(fd, $0, $1) }
  }

  private static func filled(
    by call: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> CInt
  ) -> SocketAddress {
    var address = SocketAddress()
    address.length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    withUnsafeMutablePointer(to: &address.storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = call($0, &address.length) }
    }
    return address
  }

  private static func open(_ family: CInt) throws(SystemError) -> CInt {
    try systemCall("socket") {
      socket(family, CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0)
    }
  }

  private static func removeStale(_ path: String, _ address: SocketAddress) throws(SystemError) {
    let probe = try open(AF_UNIX)
    defer { close(probe) }
    let answered = address.withSockaddr { connect(probe, $0, $1) } == 0 || errno == EAGAIN
    if !answered && errno == ECONNREFUSED { unlink(path) }
  }
}
