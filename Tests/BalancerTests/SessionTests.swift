@testable import Balancer
import Basics
import Glibc
import Reactor
import TestSupport
import Testing

@Suite("Session", .timeLimit(.minutes(5))) struct SessionTests {
  /// Bytes that malloc(3) has set aside for an instance.
  private static func size(of object: AnyObject) -> Int {
    typealias Size = @convention(c) (UnsafeMutableRawPointer) -> Int
    let size = unsafeBitCast(dlsym(nil, "malloc_usable_size"), to: Size.self)
    return size(Unmanaged.passUnretained(object).toOpaque())
  }

  @Test("a session takes no more memory than it has to") func size() async throws {
    let bytes = try await onReactor { reactor -> Int in
      let configuration = testConfiguration([])
      let shared = BalancerShared(configuration, metrics: sharedMetrics, log: silentLog, mail: [])
      let proxy = ProxyReactor(shared)
      // An instance may get a recycled piece of memory that is a little too large, and too little so to be divided.
      let sessions = (0..<16).map { _ in
        HTTP1Session(proxy: proxy, fd: -1, peer: SocketAddress("127.0.0.1:1")!, at: reactor.now)
      }
      return sessions.map(SessionTests.size).min() ?? 0
    }
    // There are as many as connections, and one number of the wrong width in the wrong place costs sixteen bytes.
    #expect((1...296).contains(bytes), "\(bytes) bytes")
  }
}
