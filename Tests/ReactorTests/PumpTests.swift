import Basics
import Glibc
@testable import Reactor
import TestSupport
import Testing

@Suite("Pump", .timeLimit(.minutes(5))) struct PumpTests {
  /// Writes down in which turn and order handlers are called.
  private final class Recorder: EventHandler {
    let name: String
    let log: Log
    init(_ name: String, _ log: Log) {
      self.name = name
      self.log = log
    }
    override func ready(_ events: ReadyEvents, on reactor: isolated Reactor) { log.names.append(name) }
  }

  private final class Log {
    var names: [String] = []
  }

  private static func pair() -> (CInt, CInt) {
    var ends: [CInt] = [0, 0]
    socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0, &ends)
    return (ends[0], ends[1])
  }

  @Test("handlers that go first are told of a turn's events before all others, each once")
  func firstThingsFirst() async throws {
    let names = try await onReactor { reactor -> [String] in
      let log = Log()
      var handlers: [Recorder] = []
      var pairs: [(CInt, CInt)] = []
      for index in 0..<6 {
        let pair = Self.pair()
        let handler = Recorder(index % 2 == 0 ? "late" : "first", log)
        handler.goesFirst = index % 2 == 1
        try! reactor.register(handler, fd: pair.0, events: [.readable, .edgeTriggered])
        handlers.append(handler)
        pairs.append(pair)
      }
      for pair in pairs { write(pair.1, "x", 1) }
      while log.names.count < 6 { await reactor.sleep(for: .milliseconds(1)) }
      for pair in pairs {
        reactor.deregister(fd: pair.0)
        close(pair.0)
        close(pair.1)
      }
      return log.names
    }
    #expect(names == ["first", "first", "first", "late", "late", "late"])
  }

  /// Sends numbered bytes through two streams under faults; what came, and how it ended.
  private static func transfer(
    bytes: Int, under faults: @escaping @Sendable () -> SocketFaults
  ) async throws -> (got: [UInt8], isWhole: Bool) {
    try await onReactor { reactor in
      let (left, right) = pair()
      let sender = try! Stream(adopting: left, on: reactor)
      let receiver = try! Stream(adopting: right, on: reactor)
      reactor.socketFaults = faults()
      sender.write((0..<bytes).map { UInt8(truncatingIfNeeded: $0) }, on: reactor)
      Task.immediate(executorPreference: reactor.queue) {
        // Whoever cannot send any more ends the connection, as a program would.
        if await sender.drain(on: reactor) { sender.shutdownWriting(on: reactor) } else { sender.close(on: reactor) }
      }
      var outcome = Stream.ReadOutcome.bytes
      while outcome == .bytes { outcome = await receiver.read(until: reactor.now + .seconds(5 as UInt64), on: reactor) }
      let got = receiver.input.bytes(0..<receiver.input.count)
      sender.close(on: reactor)
      receiver.close(on: reactor)
      reactor.socketFaults = nil
      return (got, outcome == .endOfStream)
    }
  }

  @Test(
    "bytes arrive whole and in order however short and late the kernel's answers are",
    arguments: 0..<40 as Range<UInt64>)
  func shortAndLate(seed: UInt64) async throws {
    let (got, isWhole) = try await Self.transfer(bytes: 700) {
      SocketFaults(seed: seed, shortPerMille: 400, latePerMille: 300)
    }
    #expect(isWhole)
    #expect(got == (0..<700).map { UInt8(truncatingIfNeeded: $0) })
  }

  @Test("a connection that breaks brings a beginning of what was sent, and an end", arguments: 0..<40 as Range<UInt64>)
  func breaking(seed: UInt64) async throws {
    let (got, _) = try await Self.transfer(bytes: 300) {
      SocketFaults(seed: seed, shortPerMille: 900, failedPerMille: 20)
    }
    #expect(got == (0..<got.count).map { UInt8(truncatingIfNeeded: $0) })
    #expect(got.count <= 300)
  }
}
