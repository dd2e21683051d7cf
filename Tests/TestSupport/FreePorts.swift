import Glibc

/// Loopback ports for programs that have to be told one.
public enum FreePorts {
  /// The first of sixteen ports that nobody uses: the roles take the ones behind it. Below the range from which the
  /// kernel takes ports for outgoing connections, of which tests make thousands. No other test, be it one of another
  /// process, is given them before this process ends.
  public static func first() -> Int {
    while true {
      let base = Int.random(in: 1000..<2000) * 16
      if (base..<base + 16).allSatisfy(isFree), reserve(base) { return base }
    }
  }

  /// Binds a name that stands for `base` and that nobody else can bind until the kernel closes the socket.
  private static func reserve(_ base: Int) -> Bool {
    let fd = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    // A first byte of zero makes it abstract: it is in no folder.
    let name = Array("\0millrace-test-ports-\(base)".utf8)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name) }
    let length = socklen_t(MemoryLayout<sa_family_t>.size + name.count)
    let isReserved = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(fd, $0, length) == 0 }
    }
    if !isReserved { close(fd) }
    return isReserved
  }

  private static func isFree(_ port: Int) -> Bool {
    let fd = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    defer { close(fd) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(fd, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
  }
}
