import Basics
import Glibc
import Reactor

/// One end of a connection, bytes as they are.
final class RawConnection {
  let stream: Stream
  private(set) var received = ""

  init(_ stream: Stream) {
    self.stream = stream
  }

  /// A connection to `address`.
  static func connect(to address: SocketAddress, on reactor: isolated Reactor) async throws(SystemError)
    -> RawConnection
  {
    let fd = try await Connector.connect(to: address, until: reactor.now + .seconds(2 as UInt64), on: reactor)
    return RawConnection(try Stream(adopting: fd, on: reactor))
  }

  func send(_ text: String, on reactor: isolated Reactor) {
    stream.write(Array(text.utf8), on: reactor)
    stream.flush(on: reactor)
  }

  /// Reads until `text` has come for the `count`th time, or the end; all that has come so far.
  @discardableResult
  func read(until text: String? = nil, count: Int = 1, on reactor: isolated Reactor) async -> String {
    let deadline = reactor.now + .seconds(20 as UInt64)
    while true {
      received += String(decoding: stream.input.bytes(0..<stream.input.count), as: UTF8.self)
      stream.input.consume(stream.input.count)
      if let text, received.components(text) >= count { return received }
      guard await stream.read(until: deadline, on: reactor) == .bytes else { return received }
    }
  }

  /// Sends `text` and reads until `end` has come, or the end; all that has come so far.
  @discardableResult
  func ask(
    _ text: String, until end: String? = nil, count: Int = 1, on reactor: isolated Reactor
  ) async -> String {
    send(text, on: reactor)
    return await read(until: end, count: count, on: reactor)
  }

  /// Takes bytes and throws them away, until `count` have come or the end.
  func discard(_ count: Int, on reactor: isolated Reactor) async {
    var taken = 0
    while taken < count, await stream.read(on: reactor) == .bytes {
      taken += stream.input.count
      stream.input.removeAll()
    }
  }

  /// Answers health checks until a request for something else has arrived; false if the peer closed first.
  func nextRequest(on reactor: isolated Reactor) async -> Bool {
    await read(until: "\r\n\r\n", on: reactor)
    if received.hasPrefix("GET /health") {
      received = ""
      let health = RawBackend.health
      send(
        "HTTP/1.1 200 OK\r\nContent-Length: \(health.utf8.count)\r\nConnection: close\r\n\r\n\(health)", on: reactor)
      return false
    }
    return !received.isEmpty
  }

  func close(on reactor: isolated Reactor) {
    stream.close(on: reactor)
  }

  /// Closes with a reset (SO_LINGER 0, socket(7)).
  func reset(on reactor: isolated Reactor) {
    var option = linger(l_onoff: 1, l_linger: 0)
    setsockopt(stream.fd, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
    stream.close(on: reactor)
  }
}

extension String {
  /// How often `part` stands in it.
  func components(_ part: String) -> Int {
    var count = 0
    var rest = self[...]
    while let range = rest.firstRange(of: part) {
      count += 1
      rest = rest[range.upperBound...]
    }
    return count
  }
}
