import Backends
@testable import Balancer
import Basics
import Glibc
import HTTP
import Reactor
import Telemetry
import TestSupport

/// What a test has around it: a balancer, the backends behind it and the clients before it. However the test ends, all
/// of them end with it.
final class BalancerFixture {
  /// What stands behind the balancer.
  enum Backend: Sendable {
    /// The real server, by the name that it answers with.
    case server(String = "1", at: Place = .tcp, times: HTTPServerTimes = HTTPServerTimes())
    /// One whose every byte the test decides.
    case raw(at: Place = .tcp, _ script: RawBackend.Script)

    /// One that answers health checks, as often as they usually come, until it freezes.
    case freezing

    fileprivate var isRaw: Bool { if case .raw = self { true } else { false } }
  }

  /// Where a backend listens.
  enum Place: Sendable {
    /// On a free port.
    case tcp
    /// On a free port of an address that no client connects from, so that nobody takes it while the backend is away.
    case lastingTCP
    /// At a path.
    case unix
  }

  /// There before the test's own part begins.
  private(set) var balancer: BalancerInstance!
  /// Where the backends listen, as the test has named them.
  private(set) var addresses: [SocketAddress] = []
  /// The servers among the backends.
  private(set) var servers: [HTTPServer] = []
  /// What the servers were asked to do.
  let ledger = Ledger()
  private var raw: [RawBackend] = []
  private var clients: [RawConnection] = []
  private let folder = TemporaryFolder()

  /// The backend whose every byte the test decides; the first one of several.
  var backend: RawBackend { raw[0] }
  var address: SocketAddress { balancer.address }

  fileprivate func start(
    _ backends: [Backend], _ configure: (inout BalancerConfiguration) -> Void, on reactor: isolated Reactor
  ) async throws(SystemError) {
    for backend in backends {
      switch backend {
      case .server(let name, let place, let times):
        let (server, address) = try OriginServer.start(
          name, at: newAddress(place), times: times, ledger: ledger, on: reactor)
        servers.append(server)
        addresses.append(address)
      case .raw(let place, let script):
        let backend = RawBackend(script: script)
        raw.append(backend)
        addresses.append(try backend.start(newAddress(place), on: reactor))
      case .freezing:
        let backend = RawBackend { _, _ in }
        raw.append(backend)
        addresses.append(try backend.start(newAddress(.unix), on: reactor))
      }
    }
    balancer = try await startBalancer(addresses, on: reactor) {
      // What a backend of the test's own is asked, the test asks.
      if backends.contains(where: \.isRaw) { $0.healthInterval = .seconds(60 as UInt64) }
      configure(&$0)
    }
  }

  private func newAddress(_ place: Place) -> String {
    switch place {
    case .tcp: "127.0.0.1:0"
    case .lastingTCP: "127.0.0.2:0"
    case .unix: "unix:\(folder.path)/\(addresses.count)"
    }
  }

  fileprivate func stop(on reactor: isolated Reactor) async {
    for client in clients { client.close(on: reactor) }
    balancer?.drain(within: .milliseconds(100))
    balancer?.join()
    for backend in raw { backend.stop(on: reactor) }
    for server in servers { await server.drain(until: reactor.now, on: reactor) }
  }

  // MARK: What a test does

  /// A client's connection to the balancer, open until the test closes it or ends.
  func connect(on reactor: isolated Reactor) async throws(SystemError) -> RawConnection {
    let client = try await RawConnection.connect(to: address, on: reactor)
    clients.append(client)
    return client
  }

  /// Sends `text` on a new connection and returns all that comes until the balancer closes it.
  func ask(_ text: String, on reactor: isolated Reactor) async -> String {
    await exchange(text, address, on: reactor)
  }

  /// Sends `text` on a new connection again and again, until the answer is one that `isWanted` or 10 seconds are over;
  /// the last answer. For what the balancer comes to by itself: nobody but its answers tells that it has.
  func ask(_ text: String, on reactor: isolated Reactor, until isWanted: (String) -> Bool) async -> String {
    let deadline = reactor.now + .seconds(10 as UInt64)
    var answer = ""
    repeat { answer = await ask(text, on: reactor) } while !isWanted(answer) && reactor.now < deadline
    return answer
  }

  /// The backend with this number of those of the test's own says nothing from now on.
  func freeze(_ number: Int) { raw[number].isFrozen = true }

  /// How many requests for `path` the backend with this number of those of the test's own has had.
  func requests(at number: Int, for path: String) -> Int { raw[number].count(of: path) }

  /// What `GET /lb/stats` says.
  func stats(on reactor: isolated Reactor) async -> String {
    await ask(request("GET /lb/stats"), on: reactor)
  }

  /// Stops the server with this number and starts it anew in its place.
  func restart(_ number: Int, within span: TimeSpan, on reactor: isolated Reactor) async throws(SystemError) {
    await servers[number].drain(until: reactor.now + span, on: reactor)
    let place = addresses[number].description
    servers[number] = try await onceFree(on: reactor) { () throws(SystemError) in
      try OriginServer.start("\(number + 1)", at: place, ledger: ledger, on: reactor).0
    }
  }
}

/// Runs `body` beside a balancer that has found `backends` well, and ends everything again.
func withBalancer<Result: Sendable>(
  _ backends: BalancerFixture.Backend...,
  configure: @escaping @Sendable (inout BalancerConfiguration) -> Void = { _ in },
  run body: @escaping @Sendable (BalancerFixture, isolated Reactor) async throws -> Result
) async throws -> Result {
  try await onReactor { reactor in
    let fixture = BalancerFixture()
    do {
      try await fixture.start(backends, configure, on: reactor)
      let result = try await body(fixture, reactor)
      await fixture.stop(on: reactor)
      return result
    } catch {
      await fixture.stop(on: reactor)
      throw error
    }
  }
}

/// A request in text; the last one on its connection unless that is `kept`.
func request(
  _ line: String, _ fields: String = "", body: String = "", host: String = "localhost", kept: Bool = false
) -> String {
  let length = body.isEmpty ? "" : "Content-Length: \(body.utf8.count)\r\n"
  return "\(line) HTTP/1.1\r\nHost: \(host)\r\n\(kept ? "" : "Connection: close\r\n")\(fields)\(length)\r\n\(body)"
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
  let end = reactor.now + .seconds(60 as UInt64)
  while true {
    let client = try await RawConnection.connect(to: balancer.address, on: reactor)
    client.send(request("GET /lb/stats"), on: reactor)
    // Who has ended its own side already is forgotten by the balancer before it sees the end of the answer: a test that
    // counts connections counts none of ours.
    shutdown(client.stream.fd, CInt(SHUT_WR))
    let stats = await client.read(on: reactor)
    client.close(on: reactor)
    if stats.hasPrefix("HTTP/1.1 200 "), !stats.contains("unchecked") { break }
    // On a slow machine the first answers take their time; a test that has waited for long fails and does not trap.
    if reactor.now >= end { throw SystemError(call: "the balancer does not answer", code: ETIMEDOUT) }
    // That a check has passed shows nowhere but in what the balancer says of itself.
    await reactor.sleep(for: .milliseconds(5))
  }
  return balancer
}

/// Sends `text` on a new connection and returns all that comes until the balancer closes it.
func exchange(_ text: String, _ address: SocketAddress, on reactor: isolated Reactor) async -> String {
  do throws(SystemError) {
    let client = try await RawConnection.connect(to: address, on: reactor)
    let answer = await client.ask(text, on: reactor)
    client.close(on: reactor)
    return answer
  } catch {
    return "\(error)"
  }
}
