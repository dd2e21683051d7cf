import Basics
import Glibc

/// Where log lines go: a bounded queue emptied by a thread of its own, so that whoever logs never waits for a terminal
/// or a full pipe. When the queue is full, lines are dropped and the number of lost ones is told as soon as there is
/// room again.
public final class LogSink: Sendable {
  /// Bytes that may wait for a slow reader before lines are dropped.
  public static let bytesWaitingMax = 4 << 20

  private struct State {
    var waiting: [UInt8] = []
    var dropped = 0
    var isWriting = false
  }

  private let fd: CInt
  private let state = Locked(State())

  /// A sink that writes to `fd` and never closes it.
  public init(fd: CInt) {
    self.fd = fd
    var thread = pthread_t()
    let unmanaged = Unmanaged.passUnretained(self)
    // The process's one sink lives as long as the process, so its thread may keep an unretained reference.
    _ = Unmanaged.passRetained(self)
    pthread_create(
      &thread, nil,
      { argument in
        Unmanaged<LogSink>.fromOpaque(argument!).takeUnretainedValue().run()
        return nil
      }, unmanaged.toOpaque())
    pthread_detach(thread)
  }

  /// Hands over one finished line, newline included.
  func write(_ line: [UInt8]) {
    state.withLock { state in
      if state.waiting.count + line.count > LogSink.bytesWaitingMax {
        state.dropped += 1
      } else {
        state.waiting += line
      }
    }
    state.notifyAll()
  }

  /// Waits until everything handed over so far was written, a second at most: for the last lines before a process ends,
  /// which must end also if nobody reads them.
  public func flush() {
    _ = state.wait(atMost: 1) { $0.waiting.isEmpty && !$0.isWriting ? () : nil }
  }

  private func run() {
    while true {
      let found = state.wait { state -> State? in
        guard !state.waiting.isEmpty else { return nil }
        let found = state
        state = State(isWriting: true)
        return found
      }
      guard let found else { return }
      writeAll(found.waiting)
      if found.dropped > 0 {
        writeAll(Array("… \(found.dropped) log lines were dropped: the reader of this log is too slow\n".utf8))
      }
      state.withLock { $0.isWriting = false }
      state.notifyAll()
    }
  }

  private func writeAll(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { buffer in
      var offset = 0
      while offset < buffer.count {
        let written = Glibc.write(fd, buffer.baseAddress! + offset, buffer.count - offset)
        if written > 0 {
          offset += written
        } else if errno == EAGAIN {
          var wait = pollfd(fd: fd, events: Int16(POLLOUT), revents: 0)
          poll(&wait, 1, 1000)
        } else if errno != EINTR {
          return  // Nobody reads the log any more; there is nowhere to say so.
        }
      }
    }
  }
}
