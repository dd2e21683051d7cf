public import Basics

/// Passes a body on from one connection to another: finds its data in what was read and frames them anew, so that what
/// the next reader gets is what was understood here (one chunk for what came at once, no extension, no trailer).
public struct BodyRelay: Sendable {
  /// How the body leaves.
  public enum Framing: Sendable {
    /// The data alone: their length was announced, or the end of the connection ends them.
    case plain
    /// In chunks (RFC 9112 §7.1).
    case chunked
  }

  /// What a piece held.
  public enum Outcome: Equatable, Sendable {
    /// The piece is used up, the body is not over.
    case incomplete
    /// The body is over; what begins at `next` belongs to the next message.
    case complete(next: Int)
    /// The body must be refused; what was written of this piece must not be sent.
    case malformed
  }

  private var decoder: BodyDecoder
  private let framing: Framing

  /// A relay of a body that comes as `incoming` and leaves as `framing`.
  public init(_ incoming: BodyFraming, as framing: Framing) {
    decoder = BodyDecoder(incoming)
    self.framing = framing
  }

  /// A relay of a body that comes and leaves in the same way: chunked if it comes so, else plain.
  public init(_ incoming: BodyFraming) {
    self.init(incoming, as: incoming == .chunked ? .chunked : .plain)
  }

  /// Whether the whole body was read.
  public var isComplete: Bool { decoder.isComplete }

  /// The least number of bytes that are still to come.
  public var missingBytes: Int { decoder.missingBytes }

  /// Whether the body ends with the connection.
  public var endsWithConnection: Bool { decoder.endsWithConnection }

  /// Writes what `input` holds of the body from `start` on to `output`.
  public mutating func take(_ input: ByteScratch, from start: Int, to output: ByteScratch) -> Outcome {
    if decoder.isComplete { return .complete(next: start) }
    var position = start
    while true {
      switch input.span({ decoder.next($0, from: position) }) {
      case .data(let range):
        write(input.range(range), to: output)
        position = range.upperBound
        // A body of known length says that it is over in the same breath, which saves a round.
        if decoder.isComplete { return .complete(next: position) }
      case .incomplete: return .incomplete
      case .complete(let next):
        if framing == .chunked { output.append("0\r\n\r\n") }
        return .complete(next: next)
      case .malformed: return .malformed
      }
    }
  }

  /// The connection has ended, and with it the body: writes the mark that chunks end with.
  public mutating func end(to output: ByteScratch) {
    precondition(decoder.endsWithConnection, "this body has an end of its own")
    if framing == .chunked { output.append("0\r\n\r\n") }
    decoder = BodyDecoder(.none)
  }

  private func write(_ bytes: UnsafeRawBufferPointer, to output: ByteScratch) {
    guard framing == .chunked else { return output.append(bytes) }
    output.append(chunkSize: bytes.count)
    output.append(bytes)
    output.append("\r\n")
  }
}
