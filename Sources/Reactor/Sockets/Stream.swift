public import Basics
import Glibc

/// A `Pump` for straight-line code: read what comes, append what goes, all writes of a turn leave together.
///
/// Nothing is read unless somebody waits for it, so a peer that sends faster than it is served fills the kernel's
/// buffers, not ours.
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
  public var isClosed: Bool { pump.isClosed }
  /// Bytes that were appended and the kernel has not taken.
  public var unsentBytes: Int { pump.unsentBytes }
  /// The descriptor, -1 after `close`.
  public var fd: CInt { pump.fd }
  /// Whether the peer has ended its side, though it may still be reading, or the connection is broken.
  public var peerHasEnded: Bool { pump.peerHasClosed || failure != nil }
  /// Called once when that comes about, whether or not somebody reads.
  public var whenPeerEnds: (() -> Void)?

  private var pump: Pump
  private var failure: SystemError?
  private var isFlushQueued = false
  private var reader: UnsafeContinuation<ReadOutcome, Never>?
  private var writer: UnsafeContinuation<Void, Never>?
  /// How few unsent bytes the writer waits for.
  private var writerThreshold = 0
  /// How long the peer may take for each step of `Pace`.
  private var writerStall: TimeSpan?
  private var writePace = Pace(from: MonotonicTime(nanoseconds: 0))
  /// Whether the last read filled all the room that there was.
  private var wasFilled = false
  private var shutsDownWhenSent = false
  private lazy var readTimer = ReactorTimer(self)
  private lazy var writeTimer = ReactorTimer(self)

  /// Takes over a connected, non-blocking socket.
  /// - Throws: `SystemError` if it cannot be registered; the descriptor is then still the caller's.
  public init(adopting fd: CInt, on reactor: isolated Reactor) throws(SystemError) {
    pump = Pump(adopting: fd)
    super.init()
    try pump.attach(self, on: reactor)
  }

  /// Waits until more bytes were added to `input`, or there will be none.
  public func read(until deadline: MonotonicTime = .never, on reactor: isolated Reactor) async -> ReadOutcome {
    precondition(reader == nil, "two readers on one stream")
    if pump.mayReceive, let outcome = receive(on: reactor) { return outcome }
    if pump.sawEnd { return .endOfStream }
    if let failure { return .failed(failure) }
    if deadline != .never { reactor.arm(readTimer, at: deadline) }
    let outcome = await withUnsafeContinuation { reader = $0 }
    if deadline != .never { reactor.cancel(readTimer) }
    return outcome
  }

  /// Appends `bytes` to what leaves before the loop sleeps next. Nothing is sent on a broken connection.
  public func write(_ bytes: UnsafeRawBufferPointer, on reactor: isolated Reactor) {
    guard isWritable else { return }
    pump.append(bytes)
    queueFlush(on: reactor)
  }

  /// Appends `bytes` to what leaves before the loop sleeps next.
  public func write(_ bytes: [UInt8], on reactor: isolated Reactor) {
    bytes.withUnsafeBytes { write($0, on: reactor) }
  }

  /// Whether nothing has come that nobody has read, not even the end.
  public func isQuiet(on reactor: isolated Reactor) -> Bool {
    isWritable && input.isEmpty && !hasNews(on: reactor)
  }

  /// Looks whether the kernel has something that no event has told of yet: bytes, which are added to `input`, or the
  /// end.
  public func hasNews(on reactor: isolated Reactor) -> Bool {
    if pump.sawEnd { return true }
    pump.lookAgain()
    return receive(on: reactor) != nil
  }

  /// Lets whoever waits for bytes go on as if its deadline had passed.
  public func giveUpReading() {
    reader.take()?.resume(returning: .deadline)
  }

  /// Lets whoever waits for bytes go on if the kernel has something that no event has told of yet; whether it has.
  public func wakeReader(on reactor: isolated Reactor) -> Bool {
    guard reader != nil else { return false }
    pump.lookAgain()
    guard let outcome = receive(on: reactor) else { return false }
    reader.take()?.resume(returning: outcome)
    return true
  }

  /// Waits while more than `Limits.unsentBytesMax` bytes are unsent; returns at once otherwise, when the connection
  /// breaks, or when the peer needs more than `stall` (nil: however long) for a step of `Pace`.
  /// - Returns: whether there is room on a connection that still works.
  @discardableResult
  public func waitForRoom(stall: TimeSpan? = nil, on reactor: isolated Reactor) async -> Bool {
    guard pump.unsentBytes > Limits.unsentBytesMax else { return isWritable }
    return await wait(forUnsent: Limits.unsentBytesMax / 2, stall, on: reactor)
  }

  /// Waits until the kernel has taken everything, the connection breaks, or the peer needs more than `stall` (nil:
  /// however long) for a step of `Pace`.
  /// - Returns: whether the kernel has taken everything.
  @discardableResult
  public func drain(stall: TimeSpan? = nil, on reactor: isolated Reactor) async -> Bool {
    guard pump.unsentBytes > 0 else { return isWritable }
    return await wait(forUnsent: 0, stall, on: reactor)
  }

  private var isWritable: Bool { failure == nil && !isClosed }

  private func wait(forUnsent threshold: Int, _ stall: TimeSpan?, on reactor: isolated Reactor) async -> Bool {
    guard isWritable else { return false }
    precondition(writer == nil, "two writers wait on one stream")
    writerThreshold = threshold
    writerStall = stall
    if let stall {
      writePace = Pace(from: reactor.now, untaken: pump.untakenBytes)
      reactor.arm(writeTimer, after: stall)
    }
    await withUnsafeContinuation { writer = $0 }
    if stall != nil { reactor.cancel(writeTimer) }
    return isWritable && pump.unsentBytes <= threshold
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
    pump.close(on: reactor)
    fail(SystemError(call: "close", code: ECANCELED))
  }

  /// Gives buffers back to the system while the connection is quiet.
  public func releaseMemory() {
    input.releaseIfEmpty()
    wasFilled = false
    pump.releaseMemory()
  }

  /// Reads for whoever waits, and writes what a short write left.
  public override func ready(_ events: ReadyEvents, on reactor: isolated Reactor) {
    if pump.noted(events) { flush(on: reactor) }
    if pump.peerHasClosed, let told = whenPeerEnds.take() { told() }
    guard !isClosed, pump.mayReceive else { return }
    if reader != nil, let outcome = receive(on: reactor) { reader.take()?.resume(returning: outcome) }
  }

  /// The reader's or the writer's deadline has passed.
  public override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    if timer === readTimer {
      reader.take()?.resume(returning: .deadline)
    } else if let writerStall, writePace.left(pump.untakenBytes, at: reactor.now) {
      // The kernel tells of room only when a third of its buffer is empty: for a slow peer that may be a long time.
      reactor.arm(writeTimer, after: writerStall)
    } else {
      writer.take()?.resume()
    }
  }

  /// Gives the kernel as much of the output as it takes.
  public override func flush(on reactor: isolated Reactor) {
    isFlushQueued = false
    guard isWritable else { return }
    if pump.unsentBytes > 0, case .failed(let code) = pump.flush(on: reactor) {
      return fail(SystemError(call: "send", code: code))
    }
    if pump.unsentBytes == 0, shutsDownWhenSent {
      shutsDownWhenSent = false
      pump.shutdownWriting()
    }
    if pump.unsentBytes <= writerThreshold { writer.take()?.resume() }
  }

  private func queueFlush(on reactor: isolated Reactor) {
    guard !isFlushQueued, !pump.awaitsRoom else { return }
    isFlushQueued = true
    reactor.flushBeforeSleep(self)
  }

  /// Takes what the kernel has; nil if that is nothing yet.
  private func receive(on reactor: isolated Reactor) -> ReadOutcome? {
    guard !isClosed, !pump.sawEnd, failure == nil else { return nil }
    // Most of what comes is small, and there may be many who send it slowly.
    let isSmall = input.isEmpty && !wasFilled
    let room = !isSmall ? Limits.readChunkBytes : input.bytesOwned == 0 ? Limits.firstReadBytes : 1
    let received = input.fill(room: room) { free in
      let received = pump.receive(into: free, on: reactor)
      guard case .bytes(let count) = received else { return (0, received) }
      wasFilled = count == free.count
      return (count, received)
    }
    switch received {
    case .bytes: return .bytes
    case .nothing: return nil
    case .end: return .endOfStream
    case .failed(let code):
      fail(SystemError(call: "recv", code: code))
      return .failed(failure!)
    }
  }

  private func fail(_ error: SystemError) {
    if failure == nil { failure = error }
    if let told = whenPeerEnds.take() { told() }
    reader.take()?.resume(returning: .failed(error))
    writer.take()?.resume()
  }
}
