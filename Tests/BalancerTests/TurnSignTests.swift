import Basics
import Glibc
import Reactor
import TestSupport
import Testing

@testable import Balancer

@Suite(.timeLimit(.minutes(5))) struct TurnSignTests {
  /// Whether `condition` becomes true within a minute; the thread that asks is the test's own.
  private static func eventually(on reactor: isolated Reactor, _ condition: () -> Bool) async -> Bool {
    let deadline = reactor.now + .seconds(60 as UInt64)
    while !condition() {
      guard reactor.now < deadline else { return false }
      await reactor.sleep(for: .milliseconds(20))
    }
    return true
  }

  /// Two that proxy, and that of the operations.
  @Test("a reactor that hangs is found out, whichever it is, and also that it goes on", arguments: 0...2)
  func hanging(which: Int) async throws {
    var ends: [CInt] = [-1, -1]
    try #require(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0)
    let (reading, writing) = (ends[0], ends[1])
    var configuration = testConfiguration([SocketAddress("127.0.0.1:1")!])
    configuration.reactors = 2
    let balancer = try BalancerInstance(configuration, log: noLog, metrics: sharedMetrics) { reactor in
      guard reactor.index == which else { return }
      Task.immediate(executorPreference: reactor.queue) {
        await reactor.sleep(for: .milliseconds(1))
        var byte: UInt8 = 0
        _ = read(reading, &byte, 1)
      }
    }
    let span = BalancerLimits.turnsShown
    try await onReactor { reactor in
      #expect(balancer.turns(within: span, at: MonotonicTime.current()))
      #expect(await Self.eventually(on: reactor) { !balancer.turns(within: span, at: reactor.now) })
      _ = write(writing, "x", 1)
      #expect(await Self.eventually(on: reactor) { balancer.turns(within: span, at: reactor.now) })
    }
    balancer.drain(within: .milliseconds(0))
    balancer.join()
    for end in ends { close(end) }
  }
}
