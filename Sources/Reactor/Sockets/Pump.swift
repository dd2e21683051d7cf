import Basics
import CLinux
import Glibc

/// A connected socket's bytes, in and out: the one place that calls `recv` and `send` for a connection, and knows what
/// edge-triggering, short reads and short writes mean. It decides nothing and never calls its owner: what came of a
/// call is its result.
///
/// Edge-triggered, and a short read is taken as "the kernel has no more" (epoll(7)), unless an end was announced that
/// is still to be read behind the bytes. Interest in writing is armed only after a short write.
///
/// Under test, `SocketFaults` may make any call fail, be short or come late.
public struct Pump: ~Copyable {
  /// What a read brought.
  public enum Received: Equatable, Sendable {
    /// So many bytes were written to the memory, at least one.
    case bytes(Int)
    /// The kernel has nothing now; an event will tell of more.
    case nothing
    /// The peer will send no more; it may still be reading.
    case end
    /// The connection is broken, for the kernel's reason.
    case failed(CInt)
  }

  /// What became of bytes that were to be sent.
  public enum Sent: Equatable, Sendable {
    /// The kernel has taken all.
    case all
    /// It took a part or nothing, and an event will tell when there is room.
    case part
    /// The connection is broken, for the kernel's reason.
    case failed(CInt)
  }

  private static let readEvents: ReadyEvents = [.readable, .peerClosed, .edgeTriggered]

  /// The descriptor, -1 once it was closed.
  public private(set) var fd: CInt
  /// Whether a read may bring something: bytes, or the end.
  public private(set) var mayReceive = true
  /// Whether the peer has ended its side; the end itself may still stand behind bytes.
  public private(set) var peerHasClosed = false
  /// Whether the end was read.
  public private(set) var sawEnd = false
  /// Whether it waits for room to write.
  private(set) var awaitsRoom = false
  private var output = ByteBuffer()

  /// Takes over `fd`, a non-blocking socket that is connected or connecting.
  public init(adopting fd: CInt) {
    self.fd = fd
  }

  /// Has the reactor report events to `handler`.
  /// - Parameter isConnecting: the socket becomes writable when the attempt has ended; `connectError` then tells how.
  /// - Throws: `SystemError` if the kernel refuses; the descriptor is still open.
  public mutating func attach(
    _ handler: EventHandler, isConnecting: Bool = false, on reactor: isolated Reactor
  ) throws(SystemError) {
    awaitsRoom = isConnecting
    try reactor.register(handler, fd: fd, events: isConnecting ? Pump.readEvents.union(.writable) : Pump.readEvents)
  }

  /// Whether `close` was called.
  public var isClosed: Bool { fd < 0 }

  /// Bytes that were handed over and the kernel has not taken.
  public var unsentBytes: Int { output.count }

  /// Bytes of memory that it owns.
  public var bytesOwned: Int { output.bytesOwned }

  /// Bytes that came and were not read, so far as this kernel knows.
  public var unreadBytes: Int { max(0, Int(clinux_unread_bytes(fd))) }

  /// Bytes that were handed over and the peer has not taken, so far as this kernel knows: not sent, or sent and not
  /// acknowledged (TCP), or not read (Unix).
  public var untakenBytes: Int { output.count + max(0, Int(clinux_unsent_bytes(fd))) }

  /// Whether bytes were appended of which the kernel has not been told.
  public var hasUnoffered: Bool { !output.isEmpty && !awaitsRoom }

  /// Takes note of what epoll has reported.
  /// - Returns: whether there is room to write again for which this pump has waited.
  public mutating func noted(_ events: ReadyEvents) -> Bool {
    if !events.isDisjoint(with: [.readable, .peerClosed, .hangup, .error]) { mayReceive = true }
    // One edge may tell of the last bytes and of the end behind them.
    if !events.isDisjoint(with: [.peerClosed, .hangup, .error]) { peerHasClosed = true }
    return awaitsRoom && !events.isDisjoint(with: [.writable, .hangup, .error])
  }

  /// Looks for bytes although no event has told of any.
  public mutating func lookAgain() {
    mayReceive = !sawEnd
  }

  // MARK: In

  /// Reads into `memory`, once.
  public mutating func receive(
    into memory: UnsafeMutableRawBufferPointer, on reactor: isolated Reactor
  ) -> Received {
    var room = memory.count
    if let faults = reactor.socketFaults {
      switch faults.next(.receive) {
      case .none: break
      case .short: room = min(room, 1)
      case .late:
        askAgain(on: reactor)
        return .nothing
      case .failed(let code):
        mayReceive = false
        return .failed(code)
      }
    }
    while true {
      let got = clinux_recv(fd, memory.baseAddress, room, 0)
      if got > 0 {
        if got < memory.count, !peerHasClosed, room == memory.count { mayReceive = false }
        return .bytes(got)
      }
      if got < 0, errno == EINTR { continue }
      mayReceive = false
      if got == 0 {
        sawEnd = true
        return .end
      }
      return errno == EAGAIN ? .nothing : .failed(errno)
    }
  }

  /// Lets the reactor report once more, in its next turn, what is still to be read: others have their turn first.
  public mutating func askAgain(on reactor: isolated Reactor) {
    mayReceive = false
    reactor.modify(fd: fd, events: awaitsRoom ? Pump.readEvents.union(.writable) : Pump.readEvents)
  }

  /// Has the reactor report in its next turn, whatever the kernel has then: the owner goes on with what it keeps.
  public mutating func comeBack(on reactor: isolated Reactor) {
    awaitsRoom = true
    reactor.modify(fd: fd, events: Pump.readEvents.union(.writable))
  }

  // MARK: Out

  /// Sends `bytes`, and keeps what the kernel does not take now.
  public mutating func send(_ bytes: UnsafeRawBufferPointer, on reactor: isolated Reactor) -> Sent {
    guard output.isEmpty else {
      output.append(bytes)
      return awaitsRoom ? .part : flush(on: reactor)
    }
    var taken = 0
    let sent = offer(bytes, taken: &taken, on: reactor)
    if case .part = sent { output.append(UnsafeRawBufferPointer(rebasing: bytes[taken...])) }
    return sent
  }

  /// Appends `bytes` to what the next `flush` sends.
  public mutating func append(_ bytes: UnsafeRawBufferPointer) {
    output.append(bytes)
  }

  /// Gives the kernel what was kept.
  public mutating func flush(on reactor: isolated Reactor) -> Sent {
    var taken = 0
    let sent = output.withReadable { bytes in
      Pump.offer(bytes, to: fd, taken: &taken, on: reactor)
    }
    output.consume(taken)
    arm(after: sent, on: reactor)
    return sent
  }

  /// Gives the kernel as much of `bytes` as it takes and keeps nothing of the rest; `taken` grows by how much it took.
  public mutating func offer(
    _ bytes: UnsafeRawBufferPointer, taken: inout Int, on reactor: isolated Reactor
  ) -> Sent {
    let sent = Pump.offer(bytes, to: fd, taken: &taken, on: reactor)
    arm(after: sent, on: reactor)
    return sent
  }

  private static func offer(
    _ bytes: UnsafeRawBufferPointer, to fd: CInt, taken: inout Int, on reactor: isolated Reactor
  ) -> Sent {
    var offset = 0
    while offset < bytes.count {
      var amount = bytes.count - offset
      if let faults = reactor.socketFaults {
        switch faults.next(.send) {
        case .none: break
        case .short: amount = 1
        case .late:
          // The kernel has room and would not tell of it again.
          reactor.modify(fd: fd, events: Pump.readEvents.union(.writable))
          return .part
        case .failed(let code): return .failed(code)
        }
      }
      let sent = clinux_send(fd, bytes.baseAddress! + offset, amount, CInt(MSG_NOSIGNAL))
      if sent >= 0 {
        offset += sent
        taken += sent
      } else if errno != EINTR {
        return errno == EAGAIN ? .part : .failed(errno)
      }
    }
    return .all
  }

  /// Arms or disarms interest in writing.
  @inline(__always)
  private mutating func arm(after sent: Sent, on reactor: isolated Reactor) {
    let waits = sent == .part
    guard waits != awaitsRoom, !isClosed else { return }
    awaitsRoom = waits
    reactor.modify(fd: fd, events: waits ? Pump.readEvents.union(.writable) : Pump.readEvents)
  }

  /// Tells the peer that nothing more will come.
  public func shutdownWriting() {
    shutdown(fd, CInt(SHUT_WR))
  }

  // MARK: The end

  /// Ends the connection at once. If bytes are unsent they are lost, and so is what the peer has not taken of others:
  /// the connection is reset, lest the kernel keep megabytes for a peer that takes nothing, and the part pass for a
  /// whole.
  public mutating func close(on reactor: isolated Reactor) {
    guard !isClosed else { return }
    reactor.deregister(fd: fd)
    if unsentBytes > 0 { Socket.resetOnClose(fd) }
    Glibc.close(fd)
    fd = -1
    mayReceive = false
    output.removeAll()
    output.releaseIfEmpty()
  }

  /// Gives memory back while nothing waits to be sent.
  public mutating func releaseMemory() {
    output.releaseIfEmpty()
  }
}
