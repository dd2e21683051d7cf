import Basics
import Glibc
import HTTP
import HTTPSyntax
import Reactor
import Telemetry
import TestSupport
import VersionedStore

@testable import KeyValueServer

/// One registry for all tests: a process has a bounded number of metrics.
let sharedMetrics = Metrics()
let quiet = Logger(sink: LogSink(fd: STDERR_FILENO), subsystem: "test", level: .error)

/// A server on a loopback port, over a store in a folder, in this process.
final class ServerHarness {
  let service: KeyValueService
  let address: SocketAddress
  /// Where the store is.
  let folder: String
  let client = HTTPClient()
  private let server: HTTPServer

  private init(_ service: KeyValueService, _ server: HTTPServer, _ address: SocketAddress, _ folder: String) {
    (self.service, self.server, self.address, self.folder) = (service, server, address, folder)
  }

  static func start(
    _ name: String = "server-1", in folder: String, partitions: Int = 4, maxVersions: Int = 100,
    peers: [KeyValuePeer] = [], at place: SocketAddress = SocketAddress("127.0.0.1:0")!, on reactor: isolated Reactor
  ) throws -> ServerHarness {
    var configuration = KeyValueServerConfiguration()
    (configuration.name, configuration.peers) = (name, peers)
    let folder = try StoreFolder(folder, partitions: partitions)
    let store = Store(
      try SQLiteEngine(folder, holder: name, maxVersions: maxVersions), partitionCount: folder.partitions,
      cacheEntriesMax: 100, cacheBytesMax: 1 << 20, metrics: sharedMetrics)
    let service = KeyValueService(configuration, store, log: quiet, metrics: sharedMetrics)
    let server = HTTPServer(
      handler: KeyValueService.routes(service, metrics: sharedMetrics), metrics: HTTPServerMetrics(sharedMetrics),
      log: quiet)
    let address = try server.listen(on: place, on: reactor)
    return ServerHarness(service, server, address, folder.path)
  }

  func send(
    _ method: HTTPMethod, _ target: String, _ body: String = "", fields: [(name: String, value: String)] = [],
    on reactor: isolated Reactor
  ) async throws -> HTTPClientResponse {
    try await client.send(
      HTTPClientRequest(method, target, fields: fields, body: Array(body.utf8)), to: address,
      until: reactor.now + .seconds(20 as UInt64), on: reactor)
  }

  func put(_ key: String, _ value: String, _ query: String = "", on reactor: isolated Reactor) async throws {
    let answer = try await send(.put, "/put/\(key)\(query)", #"{"value":\#(value)}"#, on: reactor)
    guard answer.status == 200 else { throw Refused(answer: answer.text) }
  }

  struct Refused: Error {
    let answer: String
  }

  func stop(on reactor: isolated Reactor) async {
    client.closeIdle(on: reactor)
    service.stop(on: reactor)
    await server.drain(until: reactor.now + .seconds(5 as UInt64), on: reactor)
    await service.close(on: reactor)
  }
}

/// A server in a folder of its own, which goes with it.
func withServer(
  partitions: Int = 4, maxVersions: Int = 100,
  _ body: @escaping @Sendable (ServerHarness, isolated Reactor) async throws -> Void
) async throws {
  let folder = TemporaryFolder()
  try await onReactor { reactor in
    let server = try ServerHarness.start(
      in: folder.path, partitions: partitions, maxVersions: maxVersions, on: reactor)
    try await body(server, reactor)
    await server.stop(on: reactor)
  }
}

extension HTTPClientResponse {
  var text: String { String(decoding: body, as: UTF8.self) }
}

/// Reads server-sent events from a connection of its own.
final class EventReader {
  private let stream: Stream
  private var seen: [UInt8] = []

  init(
    _ address: SocketAddress, _ target: String, fields: String = "", on reactor: isolated Reactor
  ) async throws(SystemError) {
    let fd = try await Connector.connect(to: address, until: reactor.now + .seconds(20 as UInt64), on: reactor)
    stream = try Stream(adopting: fd, on: reactor)
    stream.write(Array("GET \(target) HTTP/1.1\r\nHost: a\r\n\(fields)\r\n".utf8), on: reactor)
  }

  /// All that has come, as soon as that contains `text` so often.
  func read(until text: String, times: Int = 1, on reactor: isolated Reactor) async -> String {
    let deadline = reactor.now + .seconds(20 as UInt64)
    let wanted = Array(text.utf8)
    // Much may come in many parts: each byte is looked at once.
    var (count, next) = (0, 0)
    while true {
      while next + wanted.count <= seen.count, count < times {
        let isThere = seen[next] == wanted[0] && seen[next..<next + wanted.count].elementsEqual(wanted)
        count += isThere ? 1 : 0
        next += isThere ? wanted.count : 1
      }
      if count == times { return String(decoding: seen, as: UTF8.self) }
      guard await stream.read(until: deadline, on: reactor) == .bytes else {
        return String(decoding: seen, as: UTF8.self) + "(the end)"
      }
      seen += stream.input.bytes(0..<stream.input.count)
      stream.input.consume(stream.input.count)
    }
  }

  func close(on reactor: isolated Reactor) { stream.close(on: reactor) }
}
