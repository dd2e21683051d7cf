import CLinux
import Glibc

/// Where a socket listens, connects, or comes from: an IP address with a port, or the path of a Unix socket.
public struct SocketAddress: Sendable, CustomStringConvertible {
  var storage = sockaddr_storage()
  var length: socklen_t = 0

  init() {}

  /// An address in text: `127.0.0.1:8000`, `[::1]:8000` or `unix:/path`. Names need a `Resolver`.
  /// Nil for anything else, and for a path longer than the kernel's 107 bytes.
  public init?(_ text: String) {
    if text.hasPrefix("unix:") {
      self.init(unixPath: String(text.dropFirst(5)))
      return
    }
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else { return nil }
    self.init(ip: String(text[..<colon]), port: port)
  }

  /// An IPv4 or IPv6 address (with or without brackets) in text, and a port; nil if `ip` is neither.
  public init?(ip: String, port: UInt16) {
    let bare = ip.hasPrefix("[") && ip.hasSuffix("]") ? String(ip.dropFirst().dropLast()) : ip
    var v4 = in_addr()
    var v6 = in6_addr()
    if inet_pton(AF_INET, bare, &v4) == 1 {
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = port.bigEndian
      address.sin_addr = v4
      store(address)
    } else if inet_pton(AF_INET6, bare, &v6) == 1 {
      var address = sockaddr_in6()
      address.sin6_family = sa_family_t(AF_INET6)
      address.sin6_port = port.bigEndian
      address.sin6_addr = v6
      store(address)
    } else {
      return nil
    }
  }

  /// The Unix socket at `path`; nil if the path is empty or longer than the kernel takes.
  public init?(unixPath path: String) {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    guard !bytes.isEmpty, bytes.count < MemoryLayout.size(ofValue: address.sun_path), !bytes.contains(0) else {
      return nil
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    store(address)
  }

  private mutating func store<T>(_ address: T) {
    withUnsafeMutableBytes(of: &storage) { target in
      withUnsafeBytes(of: address) { target.copyMemory(from: $0) }
    }
    length = socklen_t(MemoryLayout<T>.size)
  }

  /// `AF_INET`, `AF_INET6` or `AF_UNIX`.
  public var family: CInt { CInt(storage.ss_family) }

  /// Whether this is a Unix socket.
  public var isUnix: Bool { family == AF_UNIX }

  /// The port in host order, 0 for a Unix socket.
  public var port: UInt16 {
    get {
      switch family {
      case AF_INET: UInt16(bigEndian: load(sockaddr_in.self).sin_port)
      case AF_INET6: UInt16(bigEndian: load(sockaddr_in6.self).sin6_port)
      default: 0
      }
    }
    set {
      // The port stands at the same offset in both families.
      guard !isUnix else { return }
      withUnsafeMutableBytes(of: &storage) { $0.storeBytes(of: newValue.bigEndian, toByteOffset: 2, as: UInt16.self) }
    }
  }

  /// The path of a Unix socket, nil for an IP address.
  public var unixPath: String? {
    guard isUnix else { return nil }
    return withUnsafeBytes(of: storage) { String(decoding: $0[2...].prefix { $0 != 0 }, as: UTF8.self) }
  }

  /// The IPv4 address in host order; also for IPv6 addresses that only wrap one. Nil for all others.
  public var ipv4: UInt32? {
    switch family {
    case AF_INET: return UInt32(bigEndian: load(sockaddr_in.self).sin_addr.s_addr)
    case AF_INET6:
      let (high, low) = ipv6!
      return high == 0 && low >> 32 == 0xFFFF ? UInt32(truncatingIfNeeded: low) : nil
    default: return nil
    }
  }

  /// The IPv6 address as two halves in host order, nil for other families.
  public var ipv6: (high: UInt64, low: UInt64)? {
    guard family == AF_INET6 else { return nil }
    return withUnsafeBytes(of: storage) {
      (
        UInt64(bigEndian: $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self)),
        UInt64(bigEndian: $0.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
      )
    }
  }

  /// Whether the address is 127.0.0.0/8 or ::1 (RFC 1122 §3.2.1.3, RFC 4291 §2.5.3).
  public var isLoopback: Bool {
    if let ipv4 { return ipv4 >> 24 == 127 }
    if let ipv6 { return ipv6 == (0, 1) }
    return false
  }

  /// The address without the port, as it stands in `X-Forwarded-For`; `unix` for a Unix socket.
  public var host: String {
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    if let ipv4 {
      var address = in_addr(s_addr: ipv4.bigEndian)
      inet_ntop(AF_INET, &address, &text, socklen_t(text.count))
    } else if family == AF_INET6 {
      var address = load(sockaddr_in6.self).sin6_addr
      inet_ntop(AF_INET6, &address, &text, socklen_t(text.count))
    } else {
      return "unix"
    }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// As `init(_:)` reads it.
  public var description: String {
    if let unixPath { return "unix:\(unixPath)" }
    return family == AF_INET6 && ipv4 == nil ? "[\(host)]:\(port)" : "\(host):\(port)"
  }

  private func load<T>(_ type: T.Type) -> T {
    withUnsafeBytes(of: storage) { $0.load(as: T.self) }
  }

  /// Calls `body` with the form that the kernel takes.
  func withSockaddr<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
    withUnsafePointer(to: storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
    }
  }
}

extension SocketAddress: Equatable {
  /// Whether both name the same place, port included.
  public static func == (left: SocketAddress, right: SocketAddress) -> Bool {
    left.withSockaddr { bytes, length in
      right.withSockaddr { length == $1 && memcmp(bytes, $0, Int(length)) == 0 }
    }
  }
}
