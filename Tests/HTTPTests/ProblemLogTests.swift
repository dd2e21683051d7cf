import Glibc
import HTTP
import Reactor
import Telemetry
import TestSupport
import Testing

@Suite("What the log has of refusals", .timeLimit(.minutes(5))) struct ProblemLogTests {
  @Test("a refusal is logged at debug, with its status, its reason and the request's id") func refusal() async throws {
    let folder = TemporaryFolder()
    defer { withExtendedLifetime(folder) {} }
    let fd = open(folder.path + "/log", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    defer { close(fd) }
    let sink = LogSink(fd: fd)
    let log = Logger(sink: sink, subsystem: "test", level: .debug)
    try await onReactor { reactor in
      let (server, address, _) = try Fixture.start(log: log, on: reactor)
      let client = try await RawClient(address, on: reactor)
      client.send("GET /task/x HTTP/1.1\r\nHost: a\r\nX-Request-Id: my-own\r\nConnection: close\r\n\r\n", on: reactor)
      _ = await client.read(on: reactor)
      client.stream.close(on: reactor)
      await server.drain(until: reactor.now, on: reactor)
    }
    sink.flush()
    var bytes = [UInt8](repeating: 0, count: 4096)
    let text = String(decoding: bytes[..<max(pread(fd, &bytes, bytes.count, 0), 0)], as: UTF8.self)
    #expect(text.contains("my-own") && text.contains("status=4") && text.contains("reason="), "\(text)")
  }
}
