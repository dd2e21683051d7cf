/// Finds a message's body in what has come of its stream, however it is framed (RFC 9112 §6.3), without copying: it
/// tells where data stand in each piece, and where the next message begins. It exists once, for the proxy in both
/// directions, the server and the client.
public struct BodyDecoder: Sendable {
  /// What stands next in a piece.
  public enum Event: Equatable, Sendable {
    /// Body bytes at this range of the piece; go on from its end.
    case data(Range<Int>)
    /// The piece is used up, the body is not over.
    case incomplete
    /// The body is over; what begins at `next` belongs to the next message.
    case complete(next: Int)
    /// The body must be refused, and the connection closed.
    case malformed(HeadError)
  }

  private enum State {
    case done
    case length(Int)
    case chunked(ChunkedDecoder)
    case untilClose
  }

  private var state: State

  /// A decoder for a body framed as `framing`, before its first byte.
  public init(_ framing: BodyFraming) {
    state =
      switch framing {
      case .none: .done
      case .length(let length): length == 0 ? .done : .length(length)
      case .chunked: .chunked(ChunkedDecoder())
      case .untilClose: .untilClose
      }
  }

  /// Whether the whole body was read. Never true of a body that ends with the connection.
  public var isComplete: Bool {
    if case .done = state { return true }
    return false
  }

  /// The least number of bytes that are still to come.
  var missingBytes: Int {
    switch state {
    case .done, .untilClose: 0
    case .length(let rest): rest
    // The last chunk and the empty trailer section.
    case .chunked: 1
    }
  }

  /// Whether the body ends with the connection, so that an end of the stream completes it.
  public var endsWithConnection: Bool {
    if case .untilClose = state { return true }
    return false
  }

  /// What stands at `start` of `bytes`, the piece that came behind all pieces before it. After `complete` it says so
  /// again, at `start`.
  public mutating func next(_ bytes: Span<UInt8>, from start: Int) -> Event {
    switch state {
    case .done: return .complete(next: start)
    case .untilClose: return start < bytes.count ? .data(start..<bytes.count) : .incomplete
    case .length(let rest):
      guard start < bytes.count else { return .incomplete }
      let end = min(bytes.count, start + rest)
      state = end - start == rest ? .done : .length(rest - (end - start))
      return .data(start..<end)
    case .chunked(var decoder):
      let event = decoder.next(bytes, from: start)
      if case .complete = event { state = .done } else { state = .chunked(decoder) }
      return event
    }
  }
}
