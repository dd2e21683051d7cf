import Basics
import HTTPSyntax
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
    let body = try await readBody(until: deadline, on: reactor)
    return HTTPClientResponse(status: head.status, fields: fields, body: body)
  }

  private func readHead(
    answering method: HTTPMethod, until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async throws(HTTPClientError) -> [(name: String, value: String)] {
    var partial = PartialHead()
    while true {
      let parse = stream.input.withReadable { head.parse($0.bindMemory(to: UInt8.self).span, answering: method) }
      switch parse {
      case .malformed(let error): throw .malformed(error)
      case .incomplete:
        switch await partial.readMore(from: stream, until: deadline, on: reactor) {
        case .bytes: continue
        case .deadline: throw .deadline
        case .endOfStream, .failed: throw .closed
        }
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
    until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async throws(HTTPClientError) -> [UInt8] {
    if case .length(let length) = head.framing, length > bodyBytesMax { throw .tooLarge }
    var decoder = BodyDecoder(head.framing)
    var body: [UInt8] = []
    while !decoder.isComplete {
      let piece = stream.input.bytes(0..<stream.input.count)
      var position = 0
      reading: while true {
        switch decoder.next(piece.span, from: position) {
        case .data(let range):
          body += piece[range]
          position = range.upperBound
          if body.count > bodyBytesMax { throw .tooLarge }
        case .incomplete:
          position = piece.count
          break reading
        case .complete(let next):
          position = next
          break reading
        case .malformed(let error): throw .malformed(error)
        }
      }
      stream.input.consume(position)
      if decoder.isComplete { break }
      switch await stream.read(until: deadline, on: reactor) {
      case .bytes: continue
      case .endOfStream where decoder.endsWithConnection: return body
      case .deadline: throw .deadline
      case .endOfStream, .failed: throw .closed
      }
    }
    return body
  }
}
