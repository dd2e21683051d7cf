import Basics
public import Reactor

/// Produces a body while the client reads it: events, large results.
public protocol HTTPBodySource: AnyObject {
  /// Writes the body to `writer` and returns at its end, or once a write says that the client is gone.
  func write(to writer: HTTPBodyWriter, on reactor: isolated Reactor) async
}

/// Writes a body bit by bit, each bit a chunk, or plainly to a client too old for chunks.
public final class HTTPBodyWriter {
  private let stream: Stream
  private let isChunked: Bool
  private let isSilent: Bool
  private let stall: TimeSpan
  private var sizeLine: [UInt8] = []
  private var isBroken = false

  init(stream: Stream, isChunked: Bool, isSilent: Bool, stall: TimeSpan) {
    self.stream = stream
    self.isChunked = isChunked
    self.isSilent = isSilent
    self.stall = stall
  }

  /// Writes `bytes` and waits while the client reads too slowly.
  /// - Returns: false once the client is gone, so that writing more is in vain.
  @discardableResult
  public func write(_ bytes: [UInt8], on reactor: isolated Reactor) async -> Bool {
    guard !isSilent, !isBroken else { return false }
    guard !bytes.isEmpty else { return !stream.isClosed }
    if isChunked {
      sizeLine.removeAll(keepingCapacity: true)
      sizeLine.append(contentsOf: String(bytes.count, radix: 16).utf8)
      sizeLine.append("\r\n")
      stream.write(sizeLine, on: reactor)
    }
    stream.write(bytes, on: reactor)
    if isChunked { stream.write([0x0D, 0x0A], on: reactor) }
    isBroken = await !stream.waitForRoom(stall: stall, on: reactor)
    return !isBroken
  }

  /// Ends the body. False if the client did not take all of it.
  func finish(on reactor: isolated Reactor) -> Bool {
    guard !isBroken else { return false }
    if isChunked && !isSilent { stream.write(Array("0\r\n\r\n".utf8), on: reactor) }
    return true
  }
}
