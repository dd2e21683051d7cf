import Foundation
import Glibc
import TestSupport
import Testing

/// What a service manager hears from a role, and what it hands over.
@Suite(.serialized, .timeLimit(.minutes(5))) struct ServiceTests {
  /// The next message at a datagram socket, nil if none comes in a minute; on a thread of its own, as tests share few.
  private func next(_ fd: CInt) async -> String? {
    await withCheckedContinuation { continuation in
      Thread.detachNewThread {
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = recv(fd, &bytes, bytes.count, 0)
        continuation.resume(returning: count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil)
      }
    }
  }

  @Test func aServiceManagerHearsThatARoleIsReadyThatItTurnsAndThatItStops() async throws {
    let folder = TemporaryFolder()
    let path = folder.path + "/notify"
    let fd = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    defer { close(fd) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
    let isBound = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(fd, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) == 0
      }
    }
    try #require(isBound)
    var patience = timeval(tv_sec: 60, tv_usec: 0)
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
    let pid = try ChildProcess.start(
      "/bin/sh",
      [
        "-c", "WATCHDOG_PID=$$ exec \"$0\" \"$@\"", executable, "balance", "--backend", "127.0.0.1:1", "--port",
        "\(FreePorts.first())",
      ], environment: ["NOTIFY_SOCKET": path, "WATCHDOG_USEC": "3000000"])
    #expect(await next(fd) == "READY=1")
    for _ in 0..<3 { #expect(await next(fd) == "WATCHDOG=1") }
    kill(pid, SIGTERM)
    var last = await next(fd)
    while last == "WATCHDOG=1" { last = await next(fd) }
    #expect(last == "STOPPING=1")
    #expect(ChildProcess.waitForEnd(of: pid).code == 0)
  }

  /// A socket that listens on a free port of this machine, and the port.
  private func listening() throws -> (fd: CInt, port: Int) {
    let fd = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(fd, $0, size) == 0 && listen(fd, 64) == 0 && getsockname(fd, $0, &size) == 0
      }
    }
    try #require(isBound)
    return (fd, Int(UInt16(bigEndian: address.sin_port)))
  }

  @Test func aBalancerThatIsReplacedBehindASocketThatOutlivesItRefusesNobody() async throws {
    let system = try System()
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let (fd, port) = try listening()
    defer { close(fd) }
    func balancer() throws -> pid_t {
      try ChildProcess.start(
        "/bin/sh",
        [
          "-c", "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"", executable, "balance",
          "--backend", "127.0.0.1:\(system.port + 1)", "--port", "\(port)", "--rate-limit", "0", "--reactors", "2",
        ], input: fd)
    }
    var present = try balancer()
    defer { kill(present, SIGKILL) }
    // Each request on a connection of its own: some of them come while nobody is there to take them.
    let file = system.folder + "/codes"
    let one = "curl -s -o /dev/null --max-time 20 -w '%{http_code}\\n' http://127.0.0.1:\(port)/health"
    let client = try ChildProcess.start("/bin/sh", ["-c", "for i in $(seq 200); do \(one); done > \(file)"])
    func codes() -> [Substring] { ((try? String(contentsOfFile: file, encoding: .utf8)) ?? "").split(separator: "\n") }
    for round in 1...3 {
      #expect(await eventually { codes().count >= round * 30 })
      kill(present, SIGTERM)
      #expect(ChildProcess.waitForEnd(of: present).code == 0)
      present = try balancer()
    }
    #expect(await eventually { codes().count == 200 })
    _ = ChildProcess.waitForEnd(of: client)
    #expect(codes().allSatisfy { $0 == "200" }, "\(codes().filter { $0 != "200" })")
  }
}
