@testable import Balancer
import Basics
import Glibc
import HTTP
import Reactor
import Telemetry

/// A backend whose every byte the test decides: it keeps what it received and answers with what it was given.
final class RawBackend: ConnectionAcceptor {
  /// What to do with a connection, once for each.
  typealias Script = (RawConnection, isolated Reactor) async -> Void

  private(set) var connections: [RawConnection] = []
  private let script: Script
  private var listener: Listener?

  init(script: @escaping Script) {
    self.script = script
  }

  func start(_ address: String = "127.0.0.1:0", on reactor: isolated Reactor) throws(SystemError) -> SocketAddress {
    let listener = try Listener(on: SocketAddress(address)!, acceptor: self, on: reactor)
    self.listener = listener
    return listener.address
  }

  func accepted(_ fd: CInt, from peer: SocketAddress, on reactor: isolated Reactor) {
    do throws(SystemError) {
      let connection = RawConnection(try Stream(adopting: fd, on: reactor))
      connections.append(connection)
      Task.immediate(executorPreference: reactor.queue) { await script(connection, reactor) }
    } catch {
      close(fd)
    }
  }

  func acceptingPaused(_ error: SystemError, on reactor: isolated Reactor) {}

  func stop(on reactor: isolated Reactor) {
    listener?.close(on: reactor)
    listener = nil
    for connection in connections { connection.stream.close(on: reactor) }
  }

  /// All that was received, connection by connection, without health checks.
  var received: [String] { connections.map(\.received).filter { !$0.contains("GET /health") && !$0.isEmpty } }
}

/// One end of a connection, bytes as they are.
final class RawConnection {
  let stream: Stream
  private(set) var received = ""

  init(_ stream: Stream) {
    self.stream = stream
  }

  /// A connection to `address`.
  static func connect(to address: SocketAddress, on reactor: isolated Reactor) async throws(SystemError)
    -> RawConnection
  {
    let fd = try await Connector.connect(to: address, until: reactor.now + .seconds(2 as UInt64), on: reactor)
    return RawConnection(try Stream(adopting: fd, on: reactor))
  }

  func send(_ text: String, on reactor: isolated Reactor) {
    stream.write(Array(text.utf8), on: reactor)
    stream.flush(on: reactor)
  }

  /// Reads until `text` has come for the `count`th time, or the end; all that has come so far.
  @discardableResult
  func read(until text: String? = nil, count: Int = 1, on reactor: isolated Reactor) async -> String {
    let deadline = reactor.now + .seconds(20 as UInt64)
    while true {
      received += String(decoding: stream.input.bytes(0..<stream.input.count), as: UTF8.self)
      stream.input.consume(stream.input.count)
      if let text, received.components(text) >= count { return received }
      guard await stream.read(until: deadline, on: reactor) == .bytes else { return received }
    }
  }

  /// Answers health checks until a request for something else has arrived; false if the peer closed first.
  func nextRequest(on reactor: isolated Reactor) async -> Bool {
    await read(until: "\r\n\r\n", on: reactor)
    if received.hasPrefix("GET /health") {
      received = ""
      send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", on: reactor)
      return false
    }
    return !received.isEmpty
  }
}

extension String {
  /// How often `part` stands in it.
  func components(_ part: String) -> Int {
    var count = 0
    var rest = self[...]
    while let range = rest.firstRange(of: part) {
      count += 1
      rest = rest[range.upperBound...]
    }
    return count
  }
}

/// One registry for all tests: a process has a bounded number of metrics.
let sharedMetrics = Metrics()

/// A log of errors only.
let silentLog = Logger(sink: LogSink(fd: STDERR_FILENO), subsystem: "balance", level: .error)

/// No log at all, for tests that make errors on purpose.
let noLog = Logger(sink: LogSink(fd: open("/dev/null", O_WRONLY)), subsystem: "balance", level: .error)

/// A balancer for `backends` on a free port, without a rate limit, for whoever is on this machine.
func testConfiguration(
  _ backends: [SocketAddress], _ change: (inout BalancerConfiguration) -> Void = { _ in }
) -> BalancerConfiguration {
  var configuration = BalancerConfiguration(
    listen: SocketAddress("127.0.0.1:0")!,
    backends: backends.enumerated().map { .init(name: "b\($0 + 1)", address: $1) })
  // Unix sockets lead to our own server here, as they do in a whole system.
  for index in configuration.backends.indices {
    configuration.backends[index].vouchesForResets = configuration.backends[index].address.isUnix
  }
  configuration.rateLimitRequests = 0
  configuration.trustsLoopback = true
  change(&configuration)
  return configuration
}

/// A balancer for `backends` that has found all of them well.
func startBalancer(
  _ backends: [SocketAddress], on reactor: isolated Reactor, _ change: (inout BalancerConfiguration) -> Void = { _ in }
) async throws(SystemError) -> BalancerInstance {
  let configuration = testConfiguration(backends, change)
  let balancer = try BalancerInstance(configuration, log: silentLog, metrics: sharedMetrics)
  let client = HTTPClient()
  let end = reactor.now + .seconds(60 as UInt64)
  while true {
    let ready = HTTPClientRequest(.get, "/lb/stats")
    do throws(HTTPClientError) {
      let deadline = reactor.now + .seconds(5 as UInt64)
      let answer = try await client.send(ready, to: balancer.address, until: deadline, on: reactor)
      if !String(decoding: answer.body, as: UTF8.self).contains("unchecked") { break }
    } catch {
      // On a slow machine the first answers take their time; a test that has waited for long fails and does not trap.
      if reactor.now >= end { throw SystemError(call: "the balancer does not answer", code: ETIMEDOUT) }
    }
    await reactor.sleep(for: .milliseconds(5))
  }
  client.closeIdle(on: reactor)
  return balancer
}

/// Sends `text` on a new connection and returns all that comes until the balancer closes it.
func exchange(_ text: String, _ address: SocketAddress, on reactor: isolated Reactor) async -> String {
  do throws(SystemError) {
    let client = try await RawConnection.connect(to: address, on: reactor)
    client.send(text, on: reactor)
    let answer = await client.read(on: reactor)
    client.stream.close(on: reactor)
    return answer
  } catch {
    return "\(error)"
  }
}
