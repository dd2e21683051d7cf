import Basics
import Reactor

/// Reads one response from a stream.
final class ResponseReader {
  private let stream: Stream
  private let bodyBytesMax: Int
  private let head = ResponseHead()

  init(stream: Stream, bodyBytesMax: Int) {
    self.stream = stream
    self.bodyBytesMax = bodyBytesMax
  }

  var keepsAlive: Bool { head.keepsAlive }

  func read(
    answering method: HTTPMethod, until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async throws(HTTPClientError) -> HTTPClientResponse {
    var fields: [(name: String, value: String)] = []
    repeat {
      head.reset()
      fields = try await readHead(answering: method, until: deadline, on: reactor)
    } while head.isInterim
    let body: [UInt8]
    switch head.framing {
    case .none: body = []
    case .length(let length): body = try await readBody(length: length, until: deadline, on: reactor)
    case .chunked: body = try await readChunks(until: deadline, on: reactor)
    case .untilClose: body = try await readToEnd(until: deadline, on: reactor)
    }
    return HTTPClientResponse(status: head.status, fields: fields, body: body)
  }

  private func readHead(
    answering method: HTTPMethod, until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async throws(HTTPClientError) -> [(name: String, value: String)] {
    while true {
      let parse = stream.input.withReadable { head.parse($0.bindMemory(to: UInt8.self).span, answering: method) }
      switch parse {
      case .malformed(let error): throw .malformed(error)
      case .incomplete: try await readMore(until: deadline, on: reactor)
      case .complete(let bytes):
        var fields: [(name: String, value: String)] = []
        for index in 0..<head.fieldCount {
          let name = String(decoding: stream.input.bytes(head[index].name), as: UTF8.self).lowercased()
          fields.append((name, String(decoding: stream.input.bytes(head[index].value), as: UTF8.self)))
        }
        stream.input.consume(bytes)
        return fields
      }
    }
  }

  private func readBody(
    length: Int, until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async throws(HTTPClientError) -> [UInt8] {
    if length > bodyBytesMax { throw .tooLarge }
    while stream.input.count < length { try await readMore(until: deadline, on: reactor) }
    let body = stream.input.bytes(0..<length)
    stream.input.consume(length)
    return body
  }

  private func readChunks(
    until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async throws(HTTPClientError) -> [UInt8] {
    var decoder = ChunkedDecoder()
    var body: [UInt8] = []
    while true {
      let piece = stream.input.bytes(0..<stream.input.count)
      var position = 0
      reading: while true {
        switch decoder.next(piece.span, from: position) {
        case .data(let range):
          body += piece[range]
          position = range.upperBound
          if body.count > bodyBytesMax { throw .tooLarge }
        case .incomplete:
          stream.input.consume(piece.count)
          break reading
        case .complete(let next):
          stream.input.consume(next)
          return body
        case .malformed(let error): throw .malformed(error)
        }
      }
      try await readMore(until: deadline, on: reactor)
    }
  }

  private func readToEnd(
    until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async throws(HTTPClientError) -> [UInt8] {
    while true {
      if stream.input.count > bodyBytesMax { throw .tooLarge }
      switch await stream.read(until: deadline, on: reactor) {
      case .bytes: continue
      case .endOfStream: return stream.input.bytes(0..<stream.input.count)
      case .deadline: throw .deadline
      case .failed: throw .closed
      }
    }
  }

  private func readMore(until deadline: MonotonicTime, on reactor: isolated Reactor) async throws(HTTPClientError) {
    switch await stream.read(until: deadline, on: reactor) {
    case .bytes: return
    case .deadline: throw .deadline
    case .endOfStream, .failed: throw .closed
    }
  }
}
