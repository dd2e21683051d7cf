import Foundation
import Glibc
import Testing

@testable import Telemetry

@Suite(.timeLimit(.minutes(5))) struct LoggerTests {
  /// What `body` logs.
  private func lines(_ body: (Logger) -> Void) throws -> [String] {
    let path = FileManager.default.temporaryDirectory.appending(path: "millrace-log-\(UInt64.random(in: 1 ... .max))")
      .path
    let fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    unlink(path)
    let logger = Logger(sink: LogSink(fd: fd), subsystem: "test", level: .info, format: .text)
    body(logger)
    logger.flush()
    var bytes = [UInt8](repeating: 0, count: 8 << 20)
    let count = pread(fd, &bytes, bytes.count, 0)
    return String(decoding: bytes[..<max(count, 0)], as: UTF8.self).split(separator: "\n").map(String.init)
  }

  /// How many suppressed lines the others tell of.
  private func suppressed(_ lines: [String]) -> Int {
    lines.reduce(0) { sum, line in
      sum + (line.firstMatch(of: /(lines|suppressed)=([0-9]+)/).flatMap { Int($0.2) } ?? 0)
    }
  }

  @Test func `what one cause repeats is written so often a second, and the rest is counted`() throws {
    let began = ContinuousClock.now
    let lines = try lines { logger in
      for number in 0..<50_000 {
        logger.warning("no space left", [("number", "\(number)"), ("reason", "the disk is full")])
        // The same message for another reason is another cause.
        if number % 5000 == 0 { logger.warning("no space left", [("reason", "there is a quota")]) }
        if number % 500 == 0 { logger.info("all is well") }
      }
    }
    let seconds = Int((ContinuousClock.now - began).components.seconds) + 2
    let written = lines.filter { $0.contains("no space left number=") }.count
    #expect(written >= 20 && written <= 20 + 2 * seconds, "\(written) in \(seconds) s")
    #expect(written + suppressed(lines) == 50_000)
    #expect(lines.filter { $0.contains("there is a quota") }.count == 10)
    #expect(lines.filter { $0.contains("all is well") }.count == 100)
    #expect(lines.contains { $0.contains(#"of="no space left" reason="the disk is full""#) })
  }

  @Test func `reasons that are all different are soon counted as one`() throws {
    let began = ContinuousClock.now
    let lines = try lines { logger in
      for number in 0..<50_000 { logger.warning("no answer", [("reason", "from \(number)")]) }
    }
    let seconds = Int((ContinuousClock.now - began).components.seconds) + 2
    let written = lines.filter { $0.contains("no answer reason=") }.count
    #expect(written <= LogSink.causesMax + 20 + 2 * seconds, "\(written) in \(seconds) s")
    #expect(written + suppressed(lines) == 50_000)
  }

  @Test func `the rest is told of soon also if nothing more is logged`() async throws {
    let path = FileManager.default.temporaryDirectory.appending(path: "millrace-log-\(UInt64.random(in: 1 ... .max))")
      .path
    let fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    defer { unlink(path) }
    let logger = Logger(sink: LogSink(fd: fd), subsystem: "test", level: .info, format: .text)
    for _ in 0..<1000 { logger.warning("no space left") }
    var told = 0
    for _ in 0..<1000 where told == 0 {
      try await Task.sleep(for: .milliseconds(10))
      told = suppressed((try String(contentsOfFile: path, encoding: .utf8)).split(separator: "\n").map(String.init))
    }
    #expect(told > 0)
  }
}
