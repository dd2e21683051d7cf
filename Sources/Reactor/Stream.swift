public import Basics
import Glibc

/// A connected socket for straight-line code: read what comes, append what goes, all writes of a turn leave together.
///
/// Edge-triggered, and a short read is taken as "the kernel has no more" (epoll(7)). Nothing is read unless somebody
/// waits for it, so a peer that sends faster than it is served fills the kernel's buffers, not ours. Interest in
/// writing is armed only after a short write.
public final class Stream: EventHandler {
  /// How a wait for bytes ended.
  public enum ReadOutcome: Equatable, Sendable {
    /// `input` holds more than before.
    case bytes
    /// The peer will send no more; it may still be reading.
    case endOfStream
    /// The deadline passed first.
    case deadline
    /// The connection is broken, or was closed on this side.
    case failed(SystemError)
  }

  /// What was read and not yet consumed; the reader consumes it.
  public var input = ByteBuffer()
  /// Whether `close` was called.
  public var isClosed: Bool { fd < 0 }
  /// The descriptor, -1 after `close`.
  public private(set) var fd: CInt

  private var output = ByteBuffer()
  private var failure: SystemError?
  private var mayHaveInput = true
  private var endIsNear = false
  private var sawEnd = false
  private var isFlushQueued = false
  private var waitsForRoom = false
  private var reader: UnsafeContinuation<ReadOutcome, Never>?
  private var writer: UnsafeContinuation<Void, Never>?
  /// How few unsent bytes the writer waits for.
  private var writerThreshold = 0
  /// How long the writer waits while the kernel takes nothing.
  private var writerStall: TimeSpan?
  private var shutsDownWhenSent = false
  private lazy var readTimer = ReactorTimer(self)
  private lazy var writeTimer = ReactorTimer(self)

  private static let readEvents: ReadyEvents = [.readable, .peerClosed, .edgeTriggered]

  /// Takes over a connected, non-blocking socket.
  /// - Throws: `SystemError` if it cannot be registered; the descriptor is then still the caller's.
  public init(adopting fd: CInt, on reactor: isolated Reactor) throws(SystemError) {
    self.fd = fd
    super.init()
    try reactor.register(self, fd: fd, events: Stream.readEvents)
  }

  /// Waits until more bytes were added to `input`, or there will be none.
  public func read(until deadline: MonotonicTime = .never, on reactor: isolated Reactor) async -> ReadOutcome {
    precondition(reader == nil, "two readers on one stream")
    if mayHaveInput, let outcome = receive(on: reactor) { return outcome }
    if sawEnd { return .endOfStream }
    if let failure { return .failed(failure) }
    if deadline != .never { reactor.arm(readTimer, at: deadline) }
    let outcome = await withUnsafeContinuation { reader = $0 }
    if deadline != .never { reactor.cancel(readTimer) }
    return outcome
  }

  /// Appends `bytes` to what leaves before the loop sleeps next. Nothing is sent on a broken connection.
  public func write(_ bytes: UnsafeRawBufferPointer, on reactor: isolated Reactor) {
    guard failure == nil, !isClosed else { return }
    output.append(bytes)
    queueFlush(on: reactor)
  }

  /// Appends `bytes` to what leaves before the loop sleeps next.
  public func write(_ bytes: [UInt8], on reactor: isolated Reactor) {
    bytes.withUnsafeBytes { write($0, on: reactor) }
  }

  /// Whether nothing has come that nobody has read, not even the end.
  public func isQuiet(on reactor: isolated Reactor) -> Bool {
    isWritable && input.isEmpty && !sawEnd && receive(on: reactor) == nil
  }

  /// Waits while more than `Limits.unsentBytesMax` bytes are unsent; returns at once otherwise, when the connection
  /// breaks, or when the peer takes nothing for `stall` (nil: however long).
  /// - Returns: whether there is room on a connection that still works.
  @discardableResult
  public func waitForRoom(stall: TimeSpan? = nil, on reactor: isolated Reactor) async -> Bool {
    guard output.count > Limits.unsentBytesMax else { return isWritable }
    return await wait(forUnsent: Limits.unsentBytesMax / 2, stall, on: reactor)
  }

  /// Waits until the kernel has taken everything, the connection breaks, or the peer takes nothing for `stall` (nil:
  /// however long).
  /// - Returns: whether the kernel has taken everything.
  @discardableResult
  public func drain(stall: TimeSpan? = nil, on reactor: isolated Reactor) async -> Bool {
    guard !output.isEmpty else { return isWritable }
    return await wait(forUnsent: 0, stall, on: reactor)
  }

  private var isWritable: Bool { failure == nil && !isClosed }

  private func wait(forUnsent threshold: Int, _ stall: TimeSpan?, on reactor: isolated Reactor) async -> Bool {
    guard isWritable else { return false }
    precondition(writer == nil, "two writers wait on one stream")
    writerThreshold = threshold
    writerStall = stall
    if let stall { reactor.arm(writeTimer, after: stall) }
    await withUnsafeContinuation { writer = $0 }
    if stall != nil { reactor.cancel(writeTimer) }
    return isWritable && output.count <= threshold
  }

  /// Tells the peer that nothing more will come, as soon as the kernel has taken everything appended so far.
  public func shutdownWriting(on reactor: isolated Reactor) {
    shutsDownWhenSent = true
    flush(on: reactor)
  }

  /// Ends the connection at once; unsent bytes are lost. Whoever waits is woken.
  public func close(on reactor: isolated Reactor) {
    guard !isClosed else { return }
    reactor.cancel(readTimer)
    reactor.cancel(writeTimer)
    reactor.deregister(fd: fd)
    Glibc.close(fd)
    fd = -1
    fail(SystemError(call: "close", code: ECANCELED))
    output.removeAll()
    output.releaseIfEmpty()
  }

  /// Gives buffers back to the system while the connection is quiet.
  public func releaseMemory() {
    input.releaseIfEmpty()
    output.releaseIfEmpty()
  }

  /// Reads for whoever waits, and writes what a short write left.
  public override func ready(_ events: ReadyEvents, on reactor: isolated Reactor) {
    if events.contains(.writable), waitsForRoom { flush(on: reactor) }
    guard !isClosed, !events.isDisjoint(with: [.readable, .peerClosed, .hangup, .error]) else { return }
    mayHaveInput = true
    // One edge may tell of the last bytes and of the end behind them: after a short read the end is still to be read.
    if !events.isDisjoint(with: [.peerClosed, .hangup, .error]) { endIsNear = true }
    if reader != nil, let outcome = receive(on: reactor) { reader.take()?.resume(returning: outcome) }
  }

  /// The reader's or the writer's deadline has passed.
  public override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    if timer === readTimer {
      reader.take()?.resume(returning: .deadline)
    } else {
      writer.take()?.resume()
    }
  }

  /// Gives the kernel as much of the output as it takes.
  public override func flush(on reactor: isolated Reactor) {
    isFlushQueued = false
    while !output.isEmpty, !isClosed, failure == nil {
      let sent = output.withReadable { send(fd, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL)) }
      if sent > 0 {
        output.consume(sent)
        if writer != nil, let writerStall { reactor.arm(writeTimer, after: writerStall) }
      } else if errno == EAGAIN {
        if !waitsForRoom {
          waitsForRoom = true
          reactor.modify(fd: fd, events: Stream.readEvents.union(.writable))
        }
        break
      } else if errno != EINTR {
        fail(SystemError(call: "send", code: errno))
      }
    }
    if output.isEmpty, waitsForRoom, !isClosed {
      waitsForRoom = false
      reactor.modify(fd: fd, events: Stream.readEvents)
    }
    if output.isEmpty, shutsDownWhenSent, isWritable {
      shutsDownWhenSent = false
      shutdown(fd, CInt(SHUT_WR))
    }
    if output.count <= writerThreshold { writer.take()?.resume() }
  }

  private func queueFlush(on reactor: isolated Reactor) {
    guard !isFlushQueued, !waitsForRoom else { return }
    isFlushQueued = true
    reactor.flushBeforeSleep(self)
  }

  /// Takes what the kernel has; nil if that is nothing yet.
  private func receive(on reactor: isolated Reactor) -> ReadOutcome? {
    guard !isClosed, !sawEnd else { return nil }
    while true {
      let (got, room) = input.fill(room: Limits.readChunkBytes) { free in
        let got = recv(fd, free.baseAddress, free.count, 0)
        return (got, (got, free.count))
      }
      if got > 0 {
        mayHaveInput = got == room || endIsNear
        return .bytes
      }
      if got == 0 {
        sawEnd = true
        return .endOfStream
      }
      switch errno {
      case EINTR: continue
      case EAGAIN:
        mayHaveInput = false
        return nil
      default:
        fail(SystemError(call: "recv", code: errno))
        return .failed(failure!)
      }
    }
  }

  private func fail(_ error: SystemError) {
    if failure == nil { failure = error }
    reader.take()?.resume(returning: .failed(error))
    writer.take()?.resume()
  }
}
