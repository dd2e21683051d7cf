import Basics
import Foundation
import Glibc
import Synchronization
import TestSupport
import Testing

@testable import Reactor

/// How a listener ends.
@Suite("The end of a listener", .timeLimit(.minutes(2))) struct ListenerTests {
  @Test("who begins to connect while it ends is left without an answer, and refused when it has ended")
  func newcomers() throws {
    for text in ["127.0.0.1:0", "[::1]:0"] {
      let listener = try Socket.listen(on: SocketAddress(text)!)
      let address = Socket.localAddress(listener)
      let early = try Socket.beginConnect(to: address)
      Socket.dropNewcomers(listener)
      let late = try Socket.beginConnect(to: address)
      defer { for fd in [early, late] { close(fd) } }
      // Within a machine a connection is made, or not, before the call returns.
      #expect(Self.isOver(early, withinMs: 0) && Socket.connectError(early) == 0)
      #expect(!Self.isOver(late, withinMs: 0))
      close(listener)
      #expect(Self.isOver(late, withinMs: 20_000) && Socket.connectError(late) == ECONNREFUSED)
    }
  }

  @Test("whoever is let in is greeted, however often it ends") func everybodyIsGreeted() async throws {
    let address = SocketAddress("127.0.0.1:\(FreePorts.first())")!
    let visitors = Visitors()
    async let visits = visitors.visit(address, threads: 2)
    try await onReactor { reactor in
      defer { visitors.isOver.store(true, ordering: .relaxed) }
      for _ in 0..<200 {
        let listener = try await onceFree(on: reactor) { () throws(SystemError) in
          try Listener(on: address, acceptor: Greeter(), on: reactor)
        }
        let enough = visitors.greeted.load(ordering: .relaxed) + 20
        while visitors.greeted.load(ordering: .relaxed) < enough { await reactor.sleep(for: .milliseconds(1)) }
        await listener.closeAfterLast(on: reactor)
      }
    }
    await visits
    #expect(visitors.greeted.load(ordering: .relaxed) >= 4000)
    #expect(visitors.cut.load(ordering: .relaxed) == 0)
  }

  /// Waits until a connection is made or refused; false if neither happens in time.
  fileprivate static func isOver(_ fd: CInt, withinMs span: CInt) -> Bool {
    var asked = pollfd(fd: fd, events: Int16(POLLOUT), revents: 0)
    return poll(&asked, 1, span) == 1
  }
}

/// Who connects again and again, from threads of their own.
private final class Visitors: Sendable {
  let isOver = Atomic(false)
  let greeted = Atomic(0)
  /// Those who were let in, and not greeted.
  let cut = Atomic(0)

  func visit(_ address: SocketAddress, threads: Int) async {
    let (ended, feed) = AsyncStream.makeStream(of: Void.self)
    for _ in 0..<threads {
      Thread.detachNewThread { [self] in
        while !isOver.load(ordering: .relaxed) { visit(address) }
        feed.yield()
      }
    }
    var ends = ended.makeAsyncIterator()
    for _ in 0..<threads { await ends.next() }
  }

  private func visit(_ address: SocketAddress) {
    guard let fd = try? Socket.beginConnect(to: address) else { return }
    defer { close(fd) }
    // Who is left without an answer comes back at once, so that somebody is always about to connect.
    guard ListenerTests.isOver(fd, withinMs: 10), Socket.connectError(fd) == 0 else { return }
    var greeting = [UInt8](repeating: 0, count: 5)
    var asked = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
    let isGreeted = poll(&asked, 1, 20_000) == 1 && recv(fd, &greeting, 5, 0) == 5
    if isGreeted { greeted.add(1, ordering: .relaxed) } else { cut.add(1, ordering: .relaxed) }
  }
}
