import Basics
import Foundation
import Glibc
import HTTP
import Reactor
import TestSupport
import Testing

/// A balancer of a test's own, alone, with few descriptors.
private final class CrampedBalancer: @unchecked Sendable {
  // Safe because: a test uses it from one task at a time.
  let address: SocketAddress
  private let process: pid_t
  private let log = String(cString: mkdtemp(strdup("/tmp/millrace-cramped-XXXXXX"))) + "/log"

  init(descriptors: Int) throws {
    let port = FreePorts.first()
    address = SocketAddress("127.0.0.1:\(port)")!
    _ = FileManager.default.createFile(atPath: log, contents: nil)
    let output = open(log, O_WRONLY | O_APPEND | O_CLOEXEC)
    defer { close(output) }
    process = try ChildProcess.start(
      "/bin/sh",
      [
        "-c", "ulimit -n \(descriptors); exec \"$0\" balance --reactors 1 --port \(port) --backend 127.0.0.1:1",
        executable,
      ], output: output)
  }

  var output: String { (try? String(contentsOfFile: log, encoding: .utf8)) ?? "" }

  /// Seconds of processor time used so far; nil if the kernel does not say, because the process has ended.
  var processorSeconds: Double? {
    guard let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8),
      let fields = text.split(separator: ")").last?.split(separator: " "), fields.count > 12
    else { return nil }
    return fields[11...12].compactMap { Double($0) }.reduce(0, +) / Double(sysconf(Int32(_SC_CLK_TCK)))
  }

  /// KiB of memory that are its own; nil if it has ended.
  var ownMemory: Int? {
    guard let text = try? String(contentsOfFile: "/proc/\(process)/smaps_rollup", encoding: .utf8),
      let line = text.split(separator: "\n").first(where: { $0.hasPrefix("Private_Dirty:") })
    else { return nil }
    return line.split(separator: " ").compactMap { Int($0) }.first
  }

  /// What a new connection is answered within `seconds`, or why it is not.
  func answer(within seconds: UInt64, on reactor: isolated Reactor) async -> String {
    let client = HTTPClient()
    defer { client.closeIdle(on: reactor) }
    let request = HTTPClientRequest(.get, "/livez", fields: [("Connection", "close")])
    do {
      let answer = try await client.send(request, to: address, until: .current() + .seconds(seconds), on: reactor)
      return "\(answer.status)"
    } catch {
      return "\(error)"
    }
  }

  /// Whether it answers at all, after a while.
  func comesUp(on reactor: isolated Reactor) async -> Bool {
    for _ in 0..<500 {
      if await answer(within: 1, on: reactor) == "200" { return true }
      await reactor.sleep(for: .milliseconds(10))
    }
    return false
  }

  func end() {
    kill(process, SIGTERM)
    _ = ChildProcess.waitForEnd(of: process)
    try? FileManager.default.removeItem(atPath: (log as NSString).deletingLastPathComponent)
  }
}

@Suite(.timeLimit(.minutes(15))) struct ExhaustionTests {
  /// Descriptors of a crowd that has said `words` to the balancer.
  private func crowd(
    _ count: Int, saying words: String, to balancer: CrampedBalancer, on reactor: isolated Reactor
  ) async throws -> [CInt] {
    var crowd: [CInt] = []
    for _ in 0..<count {
      let fd = try await Connector.connect(to: balancer.address, until: .never, on: reactor)
      crowd.append(fd)
      _ = words.withCString { send(fd, $0, words.utf8.count, CInt(MSG_NOSIGNAL)) }
    }
    return crowd
  }

  @Test func `where descriptors are few, those who say nothing give way, and nothing runs out`() async throws {
    let balancer = try CrampedBalancer(descriptors: 64)
    defer { balancer.end() }
    try await onReactor { reactor in
      try #require(await balancer.comesUp(on: reactor))
      let crowd = try await crowd(150, saying: "", to: balancer, on: reactor)
      #expect(await balancer.answer(within: 5, on: reactor) == "200", "\(balancer.output)")
      let asked = try await self.crowd(
        150, saying: "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", to: balancer, on: reactor)
      #expect(await balancer.answer(within: 5, on: reactor) == "200", "\(balancer.output)")
      #expect(!balancer.output.contains("accepting connections rests"))
      // Each of them was answered, whatever came of its connection then.
      var answered = 0
      for fd in asked {
        var byte: UInt8 = 0
        if read(fd, &byte, 1) == 1 { answered += 1 }
      }
      #expect(answered == asked.count)
      for fd in crowd + asked { close(fd) }
    }
  }

  @Test func `while all places are taken, others wait their turn, and the balancer does not spin`() async throws {
    let balancer = try CrampedBalancer(descriptors: 64)
    defer { balancer.end() }
    try await onReactor { reactor in
      try #require(await balancer.comesUp(on: reactor))
      let crowd = try await crowd(60, saying: "GET / HTTP/1.1\r\nHo", to: balancer, on: reactor)
      let before = try #require(balancer.processorSeconds)
      await reactor.sleep(for: .seconds(1 as UInt64))
      #expect(try #require(balancer.processorSeconds) - before < 0.2)
      for fd in crowd { close(fd) }
      #expect(await balancer.answer(within: 10, on: reactor) == "200", "\(balancer.output)")
      #expect(!balancer.output.contains("accepting connections rests"))
    }
  }

  @Test func `what a crowd with uploads has taken goes back to the system when it has left`() async throws {
    let balancer = try CrampedBalancer(descriptors: 4096)
    defer { balancer.end() }
    try await onReactor { reactor in
      try #require(await balancer.comesUp(on: reactor))
      let before = try #require(balancer.ownMemory)
      let upload = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000\r\n\r\n" + String(repeating: "x", count: 3000)
      var crowd: [CInt] = []
      for _ in 0..<1500 {
        let fd = try await Connector.connect(to: balancer.address, until: .never, on: reactor)
        crowd.append(fd)
        _ = upload.withCString { send(fd, $0, upload.utf8.count, CInt(MSG_NOSIGNAL)) }
      }
      var with = 0
      for _ in 0..<500 where with - before < 4000 {
        await reactor.sleep(for: .milliseconds(10))
        with = try #require(balancer.ownMemory)
      }
      #expect(with - before >= 4000, "\(before) KiB before, \(with) with it")
      for fd in crowd { close(fd) }
      var after = with
      for _ in 0..<1000 where after - before > (with - before) / 2 {
        await reactor.sleep(for: .milliseconds(10))
        after = try #require(balancer.ownMemory)
      }
      #expect(after - before <= (with - before) / 2, "\(before) KiB before, \(with) with it, \(after) after it")
    }
  }
}
