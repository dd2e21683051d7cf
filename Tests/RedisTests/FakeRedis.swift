import Foundation
import Glibc
import Reactor

@testable import Redis

/// A server that says to each command what a test has it say, in the words of the protocol.
final class FakeRedis: @unchecked Sendable {
  // Safe because: nothing of it changes after `init`, but for the count, which the lock guards.
  let path = "/tmp/millrace-fake-\(getpid())-\(UInt32.random(in: 0 ... .max))"
  private let fd: CInt
  private let answer: @Sendable ([String]) -> String
  private let lock = NSLock()
  private var accepted = 0

  var endpoint: String { "unix:" + path }
  var connections: Int { lock.withLock { accepted } }

  /// `answer` is asked for all but what a client says to be let in.
  init(_ answer: @escaping @Sendable ([String]) -> String) {
    self.answer = answer
    fd = try! Socket.listen(on: SocketAddress(unixPath: path)!)
    _ = fcntl(fd, F_SETFL, 0)
    let fd = fd
    Thread.detachNewThread { [weak self] in
      while case let connection = accept(fd, nil, nil), connection >= 0 {
        self?.lock.withLock { self?.accepted += 1 }
        guard let answer = self?.answer else { break }
        Thread.detachNewThread { FakeRedis.serve(connection, answer) }
      }
    }
  }

  deinit {
    shutdown(fd, CInt(SHUT_RDWR))
    unlink(path)
  }

  private static func serve(_ fd: CInt, _ answer: ([String]) -> String) {
    let parser = ReplyParser()
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while case let count = read(fd, &buffer, buffer.count), count > 0 {
      buffer[..<count].withUnsafeBytes { parser.feed($0) }
      // A command looks like an answer that is an array.
      while let command = (try? parser.next()) ?? nil {
        let words = (command.array ?? []).map { String(decoding: $0.bytes ?? [], as: UTF8.self) }
        let said = ["CLIENT": "+OK\r\n", "PING": "+PONG\r\n"][words.first ?? ""] ?? answer(words)
        _ = write(fd, said, said.utf8.count)
      }
    }
    close(fd)
  }
}
