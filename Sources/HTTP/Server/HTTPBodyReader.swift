import Basics
import HTTPSyntax
public import Reactor

/// Reads one request's body as it comes, within the server's limits: a size and a pace. Nothing is read ahead of
/// whoever asks, so a fast client fills the kernel's buffers.
public final class HTTPBodyReader {
  private let stream: Stream
  private let bytesMax: Int
  /// What Content-Length says, 0 without one.
  let announcedBytes: Int
  private let stepTime: TimeSpan
  private var pace: Pace
  /// When whoever asks has got the last piece: the time until it asks again is not the client's.
  private var askedLast: MonotonicTime
  private var decoder: BodyDecoder
  private var mustInvite: Bool
  private var received = 0
  /// Whether the client is gone, so that there is nobody to answer.
  private(set) var isClientGone = false

  init(
    _ stream: Stream, framing: BodyFraming, expectsContinue: Bool, bytesMax: Int, stepTime: TimeSpan,
    startedAt: MonotonicTime
  ) {
    self.stream = stream
    self.bytesMax = bytesMax
    self.stepTime = stepTime
    pace = Pace(from: startedAt)
    askedLast = startedAt
    decoder = BodyDecoder(framing)
    mustInvite = expectsContinue
    if case .length(let length) = framing { announcedBytes = length } else { announcedBytes = 0 }
  }

  /// Whether the whole body was read.
  public var isComplete: Bool { decoder.isComplete }

  /// Whether the client holds the body back until it is invited, and was not.
  var awaitsInvitation: Bool { mustInvite && stream.input.isEmpty && !isComplete }

  /// The next piece of the body, nil at its end. The first call invites a client that waits for `100 Continue`
  /// (RFC 9110 §10.1.1).
  /// - Throws: `Problem` 413 past the route's bound, 408 if it comes too slowly, 400 if it is malformed or cut off.
  ///   Nothing more can be read then, and the connection ends behind the answer.
  public func next(on reactor: isolated Reactor) async throws(Problem) -> [UInt8]? {
    if announcedBytes > bytesMax { throw tooLarge }
    pace.rested(for: reactor.now.since(askedLast))
    defer { askedLast = reactor.now }
    while !decoder.isComplete {
      let piece = try takePiece()
      if !piece.isEmpty { return piece }
      if decoder.isComplete { return nil }
      if awaitsInvitation { stream.write(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8), on: reactor) }
      mustInvite = false
      try await readMore(on: reactor)
    }
    return nil
  }

  private var tooLarge: Problem { Problem(413, "The body is larger than \(bytesMax) bytes.") }

  /// Takes what has come out of the stream's buffer.
  private func takePiece() throws(Problem) -> [UInt8] {
    var consumed = 0
    var piece: [UInt8] = []
    var error: HeadError?
    stream.input.withReadable { raw in
      let bytes = raw.bindMemory(to: UInt8.self)
      reading: while !decoder.isComplete {
        switch decoder.next(bytes.span, from: consumed) {
        case .data(let range):
          consumed = range.upperBound
          piece.append(contentsOf: bytes[range])
        case .incomplete:
          consumed = bytes.count
          break reading
        case .complete(let next): consumed = next
        case .malformed(let found):
          error = found
          break reading
        }
      }
    }
    stream.input.consume(consumed)
    received += piece.count
    if let error { throw Problem(error.status, "The request was refused: \(error.explanation).") }
    if received > bytesMax { throw tooLarge }
    return piece
  }

  /// Waits for more, which must come at a pace.
  private func readMore(on reactor: isolated Reactor) async throws(Problem) {
    let deadline = pace.since + stepTime
    let tooSlow = Problem(408, "The body of the request took too long.")
    if deadline <= reactor.now { throw tooSlow }
    let kept = stream.input.count
    switch await stream.read(until: deadline, on: reactor) {
    case .bytes: pace.gave(stream.input.count - kept, at: reactor.now)
    case .deadline: throw tooSlow
    case .endOfStream, .failed:
      isClientGone = true
      throw Problem(400, "The body was cut off.")
    }
  }
}
