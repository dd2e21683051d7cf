import Basics
public import Reactor

/// Produces a body while the client reads it: events, large results.
public protocol HTTPBodySource: AnyObject {
  /// Writes the body to `writer` and returns at its end, or once a write says that the client is gone.
  func write(to writer: HTTPBodyWriter, on reactor: isolated Reactor) async
}

/// Where the parts of a body go.
protocol HTTPPartTaker: AnyObject {
  /// Writes a part of about `count` bytes, which `make` makes when there is memory for it; false if it is not taken.
  func write(
    part count: Int, isChunked: Bool, on reactor: isolated Reactor, _ make: () -> [UInt8]
  ) async -> Bool
}

/// Writes a body bit by bit, each bit a chunk, or plainly to a client too old for chunks.
public final class HTTPBodyWriter {
  private let taker: any HTTPPartTaker
  private let stream: Stream
  private let isChunked: Bool
  private let isSilent: Bool
  private var isBroken = false

  init(_ taker: any HTTPPartTaker, stream: Stream, isChunked: Bool, isSilent: Bool) {
    self.taker = taker
    self.stream = stream
    self.isChunked = isChunked
    self.isSilent = isSilent
  }

  /// Writes `bytes` and waits while the client reads too slowly.
  /// - Returns: false once the client is gone, or was parted with because memory is short, so that writing more is in
  ///   vain.
  @discardableResult
  public func write(_ bytes: [UInt8], on reactor: isolated Reactor) async -> Bool {
    await write(about: bytes.count, on: reactor) { bytes }
  }

  /// The same with what `make` makes, of about `count` bytes, as soon as there is memory for it.
  public func write(about count: Int, on reactor: isolated Reactor, _ make: () -> [UInt8]) async -> Bool {
    guard !isSilent, !isBroken else { return false }
    guard count > 0 else { return !stream.isClosed }
    isBroken = await !taker.write(part: count, isChunked: isChunked, on: reactor, make)
    return !isBroken
  }

  /// Ends the body. False if the client did not take all of it.
  func finish(on reactor: isolated Reactor) -> Bool {
    guard !isBroken else { return false }
    if isChunked && !isSilent { stream.write(Array("0\r\n\r\n".utf8), on: reactor) }
    return true
  }
}
