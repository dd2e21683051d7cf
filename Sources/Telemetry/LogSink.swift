import Glibc
import Synchronization

/// Where log lines go: a bounded queue emptied by a thread of its own, so that whoever logs never waits for a terminal
/// or a full pipe. When the queue is full, lines are dropped and the number of lost ones is told as soon as there is
/// room again.
public final class LogSink: @unchecked Sendable {
  // Safe because: everything mutable is behind `mutex`, and `fd` never changes.

  /// Bytes that may wait for a slow reader before lines are dropped.
  public static let bytesWaitingMax = 4 << 20

  private let fd: CInt
  private var mutex = pthread_mutex_t()
  private var arrived = pthread_cond_t()
  private var emptied = pthread_cond_t()
  private var waiting: [UInt8] = []
  private var dropped = 0
  private var writing = false

  /// A sink that writes to `fd` and never closes it.
  public init(fd: CInt) {
    self.fd = fd
    pthread_mutex_init(&mutex, nil)
    pthread_cond_init(&arrived, nil)
    pthread_cond_init(&emptied, nil)
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
    pthread_mutex_lock(&mutex)
    if waiting.count + line.count > LogSink.bytesWaitingMax {
      dropped += 1
    } else {
      waiting += line
      pthread_cond_signal(&arrived)
    }
    pthread_mutex_unlock(&mutex)
  }

  /// Waits until everything handed over so far was written, a second at most: for the last lines before a process ends,
  /// which must end also if nobody reads them.
  public func flush() {
    var deadline = timespec()
    clock_gettime(CLOCK_REALTIME, &deadline)
    deadline.tv_sec += 1
    pthread_mutex_lock(&mutex)
    while !waiting.isEmpty || writing {
      if pthread_cond_timedwait(&emptied, &mutex, &deadline) != 0 { break }
    }
    pthread_mutex_unlock(&mutex)
  }

  private func run() {
    var batch: [UInt8] = []
    while true {
      pthread_mutex_lock(&mutex)
      while waiting.isEmpty {
        writing = false
        pthread_cond_broadcast(&emptied)
        pthread_cond_wait(&arrived, &mutex)
      }
      writing = true
      swap(&batch, &waiting)
      let lost = dropped
      dropped = 0
      pthread_mutex_unlock(&mutex)
      if lost > 0 { batch += Array("… \(lost) log lines were dropped: the reader of this log is too slow\n".utf8) }
      writeAll(batch)
      batch.removeAll(keepingCapacity: batch.count < 1 << 16)
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
