import Basics
import Glibc

/// The service manager that has started this process, if one wants to hear of it: sd_notify(3), sd_watchdog_enabled(3).
struct ServiceManager: Sendable {
  /// How often it wants to hear that the process lives; nil if it does not.
  let watchdog: TimeSpan?
  private let path: [UInt8]

  /// Nil if there is none, or what it says is no address.
  init?() {
    guard let path = getenv("NOTIFY_SOCKET").map({ Array(String(cString: $0).utf8) }), let first = path.first,
      first == UInt8(ascii: "/") || first == UInt8(ascii: "@"), path.count < ServiceManager.pathBytesMax
    else { return nil }
    self.path = path
    let owner = getenv("WATCHDOG_PID").flatMap { pid_t(String(cString: $0)) } ?? getpid()
    let microseconds = getenv("WATCHDOG_USEC").flatMap { UInt64(String(cString: $0)) } ?? 0
    let isMeant = owner == getpid() && 1...ServiceManager.watchdogUsMax ~= microseconds
    watchdog = isMeant ? TimeSpan(nanoseconds: microseconds * 1000) : nil
  }

  private static let pathBytesMax = 108
  private static let patienceUs = 500_000
  private static let watchdogUsMax: UInt64 = 86_400_000_000

  /// Says something, `READY=1` say, to whoever has room for it. What is said once is waited with for a moment, as
  /// sd_notify(3) does; what is said again and again is not worth a wait.
  func tell(_ text: String, isRepeated: Bool = false) {
    let fd = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard fd >= 0 else { return }
    defer { close(fd) }
    var patience = timeval(tv_sec: 0, tv_usec: isRepeated ? 1 : ServiceManager.patienceUs)
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
    // An abstract address begins with a zero byte, and ends where its length says (unix(7)).
    if path[0] == UInt8(ascii: "@") { address.sun_path.0 = 0 }
    let length = socklen_t(MemoryLayout<sa_family_t>.size + path.count)
    _ = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        sendto(fd, text, text.utf8.count, CInt(MSG_NOSIGNAL), $0, length)
      }
    }
  }
}
