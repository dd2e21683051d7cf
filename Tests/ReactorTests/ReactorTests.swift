import Basics
import Glibc
import Synchronization
import TestSupport
import Testing

@testable import Reactor

func socketPair() -> (CInt, CInt) {
  var pair: [CInt] = [0, 0]
  precondition(
    socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue), 0, &pair) == 0)
  return (pair[0], pair[1])
}

@Suite(.timeLimit(.minutes(5))) struct ReactorTests {
  @Test func `a task stays on the reactor's thread across sleeps, compute work and reads`() async throws {
    let pool = try ComputePool(width: 2)
    let stayed = try await onReactor { reactor in
      let (left, right) = socketPair()
      let stream = try! Stream(adopting: left, on: reactor)
      var all = reactor.queue.isCurrent
      await reactor.sleep(for: .milliseconds(2))
      all = all && reactor.queue.isCurrent
      let elsewhere = try! await pool.run(on: reactor) { reactor.queue.isCurrent }
      all = all && reactor.queue.isCurrent && !elsewhere
      write(right, "x", 1)
      all = await stream.read(on: reactor) == .bytes && all && reactor.queue.isCurrent
      stream.close(on: reactor)
      close(right)
      return all
    }
    #expect(stayed)
    pool.shutdown()
  }

  @Test func `a read ends with bytes, with the deadline, and with the end of the stream`() async throws {
    let outcomes = try await onReactor { reactor -> [Stream.ReadOutcome] in
      let (left, right) = socketPair()
      let stream = try! Stream(adopting: left, on: reactor)
      var outcomes: [Stream.ReadOutcome] = []
      outcomes.append(await stream.read(until: reactor.now + .milliseconds(5), on: reactor))
      write(right, "abc", 3)
      outcomes.append(await stream.read(on: reactor))
      shutdown(right, CInt(SHUT_WR))
      outcomes.append(await stream.read(on: reactor))
      outcomes.append(await stream.read(on: reactor))
      stream.close(on: reactor)
      close(right)
      return outcomes
    }
    #expect(outcomes == [.deadline, .bytes, .endOfStream, .endOfStream])
  }

  @Test func `megabytes written in one turn arrive whole although the peer reads slowly`() async throws {
    let total = 8 << 20
    let received = try await onReactor { reactor -> Int in
      let (left, right) = socketPair()
      let sender = try! Stream(adopting: left, on: reactor)
      let receiver = try! Stream(adopting: right, on: reactor)
      Task.immediate(executorPreference: reactor.queue) {
        let chunk = [UInt8](repeating: 7, count: 1 << 18)
        for _ in 0..<(total / chunk.count) {
          sender.write(chunk, on: reactor)
          await sender.waitForRoom(on: reactor)
        }
        sender.shutdownWriting(on: reactor)
        await sender.drain(on: reactor)
        sender.close(on: reactor)
      }
      var count = 0
      while case .bytes = await receiver.read(on: reactor) {
        count += receiver.input.count
        receiver.input.consume(receiver.input.count)
      }
      receiver.close(on: reactor)
      return count
    }
    #expect(received == total)
  }

  @Test func `a peer that takes slowly is waited for although the kernel tells of no room, and one that stops is not`()
    async throws
  {
    let drained = try await onReactor { reactor -> [Bool] in
      let (left, right) = socketPair()
      // A Unix socket has room again when three quarters of its buffer are empty.
      var size = CInt(400_000)
      setsockopt(left, SOL_SOCKET, SO_SNDBUF, &size, socklen_t(MemoryLayout<CInt>.size))
      let sender = try! Stream(adopting: left, on: reactor)
      Task.immediate(executorPreference: reactor.queue) {
        var bytes = [UInt8](repeating: 0, count: 40_000)
        for _ in 0..<25 {
          // The slowness itself is what is tested.
          await reactor.sleep(for: .milliseconds(150))
          _ = read(right, &bytes, bytes.count)
        }
      }
      sender.write([UInt8](repeating: 7, count: 1_000_000), on: reactor)
      var drained: [Bool] = []
      let begin = reactor.now
      drained.append(await sender.drain(stall: .milliseconds(1500), on: reactor))
      drained.append(reactor.now.since(begin) > .milliseconds(2000))
      sender.write([UInt8](repeating: 7, count: 1_000_000), on: reactor)
      drained.append(await sender.drain(stall: .milliseconds(1500), on: reactor))
      sender.close(on: reactor)
      close(right)
      return drained
    }
    #expect(drained == [true, true, false])
  }

  @Test func `a listener serves TCP and Unix sockets, and a refused connect says so`() async throws {
    let folder = TemporaryFolder()
    defer { withExtendedLifetime(folder) {} }
    let directory = folder.path
    let result = try await onReactor { reactor -> [String] in
      var log: [String] = []
      for text in ["127.0.0.1:0", "[::1]:0", "unix:\(directory)/s"] {
        do {
          let listener = try Listener(on: SocketAddress(text)!, acceptor: Greeter(), on: reactor)
          let fd = try await Connector.connect(
            to: listener.address, until: reactor.now + .seconds(1 as UInt64), on: reactor)
          let stream = try Stream(adopting: fd, on: reactor)
          var outcome = await stream.read(on: reactor)
          while outcome == .bytes { outcome = await stream.read(on: reactor) }
          log.append(String(decoding: stream.input.bytes(0..<stream.input.count), as: UTF8.self))
          stream.close(on: reactor)
          listener.close(on: reactor)
          _ = try await Connector.connect(
            to: listener.address, until: reactor.now + .seconds(1 as UInt64), on: reactor)
          log.append("connected to nothing")
        } catch {
          log.append("\(error)")
        }
      }
      return log
    }
    #expect(
      result == [
        "hello", "connect: Connection refused", "hello", "connect: Connection refused", "hello",
        "connect: No such file or directory",
      ])
  }

  @Test func `a connection of a port with itself counts as refused`() throws {
    let listener = try Socket.listen(on: SocketAddress("127.0.0.1:0")!)
    let address = Socket.localAddress(listener)
    close(listener)
    let fd = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
    defer { close(fd) }
    let results = address.withSockaddr { (bind(fd, $0, $1), connect(fd, $0, $1)) }
    #expect(results == (0, 0))
    #expect(Socket.connectError(fd) == ECONNREFUSED)
  }

  @Test func `an event of a descriptor number that was reused does not reach the new owner`() async throws {
    let late = try await onReactor { reactor -> Int in
      let (a, b) = socketPair()
      let (c, d) = socketPair()
      let replacement = CountingHandler()
      let swap = Swap(replacement: replacement)
      // Whichever of the two runs first closes the other's descriptor and registers a quiet one in its place.
      let first = SwappingHandler(fd: a, victim: c, swap)
      let second = SwappingHandler(fd: c, victim: a, swap)
      try! reactor.register(first, fd: a, events: .readable)
      try! reactor.register(second, fd: c, events: .readable)
      write(b, "x", 1)
      write(d, "x", 1)
      await reactor.sleep(for: .milliseconds(5))
      precondition(swap.isDone)
      return replacement.events
    }
    #expect(late == 0)
  }

  @Test func `thousands of jobs from other threads all arrive`() async throws {
    let pool = try ComputePool(width: 4)
    let sum = try await onReactor { reactor -> Int in
      var sum = 0
      var pending = 2000
      for value in 0..<2000 {
        Task.immediate(executorPreference: reactor.queue) {
          sum += try! await pool.run(on: reactor) { value }
          pending -= 1
        }
      }
      while pending > 0 { await reactor.sleep(for: .milliseconds(1)) }
      return sum
    }
    #expect(sum == 1999 * 1000)
    pool.shutdown()
  }
}

private final class CountingHandler: EventHandler {
  var events = 0
  override func ready(_ events: ReadyEvents, on reactor: isolated Reactor) { self.events += 1 }
}

private final class Swap {
  var isDone = false
  let replacement: CountingHandler
  init(replacement: CountingHandler) { self.replacement = replacement }
}

private final class SwappingHandler: EventHandler {
  let fd: CInt
  let victim: CInt
  let swap: Swap
  init(fd: CInt, victim: CInt, _ swap: Swap) {
    self.fd = fd
    self.victim = victim
    self.swap = swap
  }
  override func ready(_ events: ReadyEvents, on reactor: isolated Reactor) {
    reactor.deregister(fd: fd)
    if swap.isDone { return }
    swap.isDone = true
    reactor.deregister(fd: victim)
    // In one step: a number that is free for a moment may be taken by another thread of the test run.
    let (quiet, _) = socketPair()
    dup2(quiet, victim)
    close(quiet)
    try? reactor.register(swap.replacement, fd: victim, events: .readable)
  }
}

/// Says hello to whoever comes, and no more.
final class Greeter: ConnectionAcceptor {
  func accepted(_ fd: CInt, from peer: SocketAddress, on reactor: isolated Reactor) {
    write(fd, "hello", 5)
    close(fd)
  }
  func acceptingPaused(_ error: SystemError, on reactor: isolated Reactor) {}
}
