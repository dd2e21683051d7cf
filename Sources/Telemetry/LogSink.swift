import Basics
import Glibc

/// Where log lines go: a bounded queue emptied by a thread of its own, so that whoever logs never waits for a terminal
/// or a full pipe. When the queue is full, lines are dropped and the number of lost ones is told as soon as there is
/// room again.
public final class LogSink: Sendable {
  /// Bytes that may wait for a slow reader before lines are dropped.
  public static let bytesWaitingMax = 4 << 20

  /// Warnings and errors of one cause that are written at once,
  static let linesAtOnce = 20
  /// and then in a second. What one cause would repeat for every request, such as a full disk, is counted beyond that:
  /// a log that fills the rest of the disk helps nobody.
  static let linesPerSecond = 2.0
  /// Causes that are told apart; further ones are known by their message alone,
  static let causesMax = 256
  /// until some of those that are have said nothing for so long.
  static let causeKept = TimeSpan.seconds(60 as UInt64)

  /// What is repeated: a message, and the reason that it gives.
  private struct Cause: Hashable {
    let message: UInt
    let reason: String?
  }

  private struct State {
    var waiting: [UInt8] = []
    var dropped = 0
    var isWriting = false
    /// What was written of each cause; its message is known by the address of its text.
    var accounts: [Cause: Account] = [:]
    /// Whether somebody has to be told of suppressed lines before long.
    var hasSuppressed = false
  }

  private struct Account {
    var budget = LogBudget(burst: LogSink.linesAtOnce, perSecond: LogSink.linesPerSecond)
    let tell: @Sendable (_ lines: Int, _ reason: String?) -> Void
  }

  private enum Work {
    case write([UInt8], dropped: Int)
    case watch
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

  /// Asks for one line of `message` at `now`, for this `reason`; `tell` says how many were suppressed when nobody asks
  /// any more.
  /// - Returns: how many were suppressed since the last one; nil if this one is suppressed too.
  func admit(
    _ message: StaticString, for reason: String?, at now: MonotonicTime,
    tell: @escaping @Sendable (_ lines: Int, _ reason: String?) -> Void
  ) -> Int? {
    var cause = Cause(message: UInt(bitPattern: message.utf8Start), reason: reason)
    let (admitted, isFirst) = state.withLock { state -> (Int?, Bool) in
      if state.accounts.count >= LogSink.causesMax, state.accounts[cause] == nil {
        state.accounts = state.accounts.filter { !$0.value.budget.isUnused(for: LogSink.causeKept, at: now) }
        if state.accounts.count >= LogSink.causesMax { cause = Cause(message: cause.message, reason: nil) }
      }
      let admitted = state.accounts[cause, default: Account(tell: tell)].budget.admit(at: now)
      let isFirst = admitted == nil && !state.hasSuppressed
      if isFirst { state.hasSuppressed = true }
      return (admitted, isFirst)
    }
    if isFirst { state.notifyAll() }
    return admitted
  }

  /// Tells of lines that were suppressed by causes that say nothing any more, or of all.
  private func tellSuppressed(all: Bool) {
    let now = MonotonicTime.current()
    let owed = state.withLock { state -> [() -> Void] in
      var owed: [() -> Void] = []
      for (key, account) in state.accounts where all || account.budget.owes(at: now) {
        let lines = state.accounts[key]!.budget.takeSuppressed()
        if lines > 0 { owed.append { account.tell(lines, key.reason) } }
      }
      state.hasSuppressed = state.accounts.values.contains { $0.budget.hasSuppressed }
      return owed
    }
    for tell in owed { tell() }
  }

  /// Waits until everything handed over so far was written, a second at most: for the last lines before a process ends,
  /// which must end also if nobody reads them.
  public func flush() {
    tellSuppressed(all: true)
    _ = state.wait(atMost: 1) { $0.waiting.isEmpty && !$0.isWriting ? () : nil }
  }

  private func run() {
    // While lines are suppressed somebody has to say so, also if nothing more is logged.
    var watchedSince: MonotonicTime?
    while true {
      let isWatching = watchedSince != nil
      let work = state.wait(atMost: isWatching ? 1 : nil) { state -> Work? in
        if !state.waiting.isEmpty {
          let work = Work.write(state.waiting, dropped: state.dropped)
          (state.waiting, state.dropped, state.isWriting) = ([], 0, true)
          return work
        }
        return state.hasSuppressed && !isWatching ? .watch : nil
      }
      if case .write(let bytes, let dropped) = work {
        writeAll(bytes)
        if dropped > 0 {
          writeAll(Array("… \(dropped) log lines were dropped: the reader of this log is too slow\n".utf8))
        }
        state.withLock { $0.isWriting = false }
        state.notifyAll()
      } else if case .watch = work {
        watchedSince = .current()
      }
      if let since = watchedSince, MonotonicTime.current().since(since) >= .seconds(1 as UInt64) {
        watchedSince = nil
        tellSuppressed(all: false)
      }
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
