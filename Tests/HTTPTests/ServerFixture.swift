import Basics
import Glibc
import HTTP
import HTTPSyntax
import Reactor
import Roles
import Telemetry

/// One registry for all tests: a process has a bounded number of metrics.
let sharedMetrics = Metrics()

/// A log of errors only.
let quiet = Logger(sink: LogSink(fd: STDERR_FILENO), subsystem: "http", level: .error)

/// What the test routes work on.
final class Fixture {
  var served = 0
  /// Pieces of a streamed body that were read.
  var pieces = 0
  var gate: UnsafeContinuation<Void, Never>?
  /// Bytes of an answer that no kernel buffers.
  static let largeBytes = 16_000_000

  /// A server on a free loopback port with routes for the tests.
  static func start(
    times: HTTPServerTimes = HTTPServerTimes(), log: Logger = quiet, budget: ByteBudget? = nil,
    connectionsMax: Int = HTTPLimits.connectionsMax, on reactor: isolated Reactor
  ) throws(SystemError) -> (server: HTTPServer, address: SocketAddress, fixture: Fixture) {
    let fixture = Fixture()
    let router = Router(fixture)
    let metrics = sharedMetrics
    router.addOperatorEndpoints(metrics: metrics) { (_, _) in RoleState() }
    router.on(.get, "/hello", .open) { (fixture, _, _) throws(Problem) in
      fixture.served += 1
      return .text(200, "hello")
    }
    router.on(.post, "/echo", .open, bodyBytesMax: 1000) { (_, request, _) throws(Problem) in
      HTTPResponse(200, "application/octet-stream", request.body)
    }
    router.on(.post, "/count", .open, bodyBytesMax: 1_000_000) { (_, request, _) throws(Problem) in
      .text(200, "\(request.body.count) bytes")
    }
    router.on(.post, "/hold", .open, bodyBytesMax: 1_000_000) { (fixture, _, _) throws(Problem) in
      await withUnsafeContinuation { fixture.gate = $0 }
      return .text(200, "held")
    }
    router.on(.get, "/large", .open) { (_, _, _) throws(Problem) in
      .text(200, String(repeating: "x", count: Fixture.largeBytes))
    }
    router.on(.post, "/pieces", .open, bodyBytesMax: 100_000, streamsBody: true) {
      (fixture, request, reactor) throws(Problem) in
      var sizes: [Int] = []
      while let piece = try await request.bodyReader?.next(on: reactor) {
        sizes.append(piece.count)
        fixture.pieces += 1
      }
      return .text(200, "\(sizes.reduce(0, +)) in \(sizes.count)")
    }
    router.on(.post, "/unread", .open, streamsBody: true) { (_, _, _) throws(Problem) in .text(200, "not read") }
    router.on(.get, "/task/{id:int}", .open) { (_, request, _) throws(Problem) in
      .text(200, "task \(request.integer("id"))")
    }
    router.on(.get, "/data/{key}", .open) { (_, request, _) throws(Problem) in
      let query = try request.query("q") ?? "-"
      return .text(200, "\(request.parameter("key"))|\(query)")
    }
    router.on(.get, "/stream", .open) { (_, _, _) throws(Problem) in
      HTTPResponse(200, "text/plain", streaming: Counting())
    }
    router.on(.get, "/stream/large", .open) { (_, _, _) throws(Problem) in
      HTTPResponse(200, "text/plain", streaming: Large())
    }
    router.on(.get, "/gate", .open) { (fixture, _, _) throws(Problem) in
      await withUnsafeContinuation { fixture.gate = $0 }
      return .text(200, "open")
    }
    router.on(.get, "/patience", .open) { (fixture, request, reactor) throws(Problem) in
      let pause = Pause()
      request.whenClientEnds { pause.end() }
      fixture.served += 1
      await pause.wait(until: reactor.now + .seconds(20 as UInt64), on: reactor)
      return .text(200, request.hasClientEnded ? "ended" : "waited")
    }
    let server = HTTPServer(
      handler: router, metrics: HTTPServerMetrics(metrics), log: log, budget: budget, times: times,
      connectionsMax: connectionsMax)
    let address = try server.listen(on: SocketAddress("127.0.0.1:0")!, on: reactor)
    return (server, address, fixture)
  }
}

private final class Counting: HTTPBodySource {
  func write(to writer: HTTPBodyWriter, on reactor: isolated Reactor) async {
    for number in 1...3 { await writer.write(Array("\(number);".utf8), on: reactor) }
  }
}

private final class Large: HTTPBodySource {
  func write(to writer: HTTPBodyWriter, on reactor: isolated Reactor) async {
    await writer.write([UInt8](repeating: 0x78, count: Fixture.largeBytes), on: reactor)
  }
}

/// A connection that sends bytes as they are and reads what comes.
struct RawClient {
  let stream: Stream

  init(_ stream: Stream) {
    self.stream = stream
  }

  init(_ address: SocketAddress, on reactor: isolated Reactor) async throws(SystemError) {
    let fd = try await Connector.connect(to: address, until: reactor.now + .seconds(2 as UInt64), on: reactor)
    stream = try Stream(adopting: fd, on: reactor)
  }

  func send(_ text: String, on reactor: isolated Reactor) {
    stream.write(Array(text.utf8), on: reactor)
    stream.flush(on: reactor)
  }

  /// Reads until `text` has come, or the end; what came so far, without `Date` and request ids.
  func read(until text: String? = nil, on reactor: isolated Reactor) async -> String {
    let deadline = reactor.now + .seconds(20 as UInt64)
    while true {
      let got = String(decoding: stream.input.bytes(0..<stream.input.count), as: UTF8.self)
      if let text, got.contains(text) { return got }
      guard await stream.read(until: deadline, on: reactor) == .bytes else { return got }
    }
  }

  /// Sends `text` on a new connection and returns all that comes until the server closes.
  static func exchange(
    _ text: String, _ address: SocketAddress, halfClose: Bool = false, on reactor: isolated Reactor
  ) async -> String {
    do throws(SystemError) {
      let client = try await RawClient(address, on: reactor)
      client.send(text, on: reactor)
      if halfClose { client.stream.shutdownWriting(on: reactor) }
      let got = await client.read(on: reactor)
      client.stream.close(on: reactor)
      return got
    } catch {
      return "\(error)"
    }
  }
}
