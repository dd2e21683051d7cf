import Basics
import Glibc
import Reactor

/// A backend whose every byte the test decides: it keeps what it received and answers with what it was given.
final class RawBackend: ConnectionAcceptor {
  /// What to do with a connection that has brought a request; health checks are answered before.
  typealias Script = @Sendable (RawConnection, isolated Reactor) async -> Void

  /// The shortest answer that has a body.
  static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

  /// What all backends of these tests say of their health, servers of keys too.
  static let health = #"{"partitions":4}"#

  /// Whether it takes connections and says nothing any more.
  var isFrozen = false
  private(set) var connections: [RawConnection] = []
  /// How many connections have brought a request, and how many of their scripts have ended since.
  private var asked = 0
  private var finished = 0
  private let happened = Pause()
  private let script: Script
  private var listener: Listener?

  init(script: @escaping Script) {
    self.script = script
  }

  func start(_ address: String, on reactor: isolated Reactor) throws(SystemError) -> SocketAddress {
    let listener = try Listener(on: SocketAddress(address)!, acceptor: self, on: reactor)
    self.listener = listener
    return listener.address
  }

  func accepted(_ fd: CInt, from peer: SocketAddress, on reactor: isolated Reactor) {
    do throws(SystemError) {
      let connection = RawConnection(try Stream(adopting: fd, on: reactor))
      connections.append(connection)
      Task.immediate(executorPreference: reactor.queue) { await serve(connection, on: reactor) }
    } catch {
      close(fd)
    }
  }

  private func serve(_ connection: RawConnection, on reactor: isolated Reactor) async {
    if isFrozen { return }
    guard await connection.nextRequest(on: reactor) else { return connection.close(on: reactor) }
    asked += 1
    happened.end()
    await script(connection, reactor)
    finished += 1
    happened.end()
  }

  func acceptingPaused(_ error: SystemError, on reactor: isolated Reactor) {}

  func stop(on reactor: isolated Reactor) {
    listener?.close(on: reactor)
    listener = nil
    for connection in connections { connection.close(on: reactor) }
  }

  /// Waits until so many connections have brought a request, and so many of their scripts have ended.
  /// - Returns: whether that came about in time.
  func waits(
    forAsked asked: Int = 0, forFinished finished: Int = 0, within span: TimeSpan = .seconds(20 as UInt64),
    on reactor: isolated Reactor
  ) async -> Bool {
    let deadline = reactor.now + span
    while self.asked < asked || self.finished < finished {
      guard await happened.wait(until: deadline, on: reactor) else { return false }
    }
    return true
  }

  /// The connection that has brought a request for `path`.
  func connection(of path: String) -> RawConnection? {
    connections.first { $0.received.contains(" \(path) HTTP/1.1") }
  }

  /// Whether a request for `path` comes within 10 seconds, on whatever connection. Scripts read as they like, and tell
  /// nobody.
  func isAsked(_ path: String, on reactor: isolated Reactor) async -> Bool {
    let deadline = reactor.now + .seconds(10 as UInt64)
    while connection(of: path) == nil, reactor.now < deadline { await reactor.sleep(for: .milliseconds(1)) }
    return connection(of: path) != nil
  }

  /// All that was received, connection by connection, without health checks.
  var received: [String] { connections.map(\.received).filter { !$0.contains("GET /health") && !$0.isEmpty } }

  /// How often a request with this method and path has come.
  func count(of line: String) -> Int {
    received.reduce(0) { $0 + $1.components("\(line) HTTP/1.1") }
  }
}
