import CLinux
import Glibc

/// Whoever acts on signals.
public protocol SignalReceiver: AnyObject {
  /// `signal` was sent to the process.
  func signalled(_ signal: CInt, on reactor: isolated Reactor)
}

/// Receives signals as events of the loop, through a signalfd. Level-triggered.
public final class SignalWatcher: EventHandler {
  private let fd: CInt
  private let receiver: any SignalReceiver

  /// Takes `signals` out of their usual delivery for the whole process and ignores SIGPIPE. Call it first thing in
  /// `main`, before any thread starts: threads inherit it.
  public static func block(_ signals: [CInt]) {
    var set = SignalWatcher.set(of: signals)
    pthread_sigmask(SIG_BLOCK, &set, nil)
    signal(SIGPIPE, SIG_IGN)
  }

  /// Tells `receiver` on the reactor of each of `signals`, which must be blocked.
  /// - Throws: `SystemError` if the process is out of descriptors.
  public init(
    _ signals: [CInt], receiver: any SignalReceiver, on reactor: isolated Reactor
  ) throws(SystemError) {
    var set = SignalWatcher.set(of: signals)
    fd = try systemCall("signalfd") { signalfd(-1, &set, CInt(SFD_CLOEXEC | SFD_NONBLOCK)) }
    self.receiver = receiver
    super.init()
    try reactor.register(self, fd: fd, events: .readable)
  }

  /// Reads which signals came.
  public override func ready(_ events: ReadyEvents, on reactor: isolated Reactor) {
    var info = signalfd_siginfo()
    while read(fd, &info, MemoryLayout<signalfd_siginfo>.size) == MemoryLayout<signalfd_siginfo>.size {
      receiver.signalled(CInt(info.ssi_signo), on: reactor)
    }
  }

  /// Stops watching; the signals stay blocked.
  public func close(on reactor: isolated Reactor) {
    reactor.deregister(fd: fd)
    Glibc.close(fd)
  }

  private static func set(of signals: [CInt]) -> sigset_t {
    var set = sigset_t()
    sigemptyset(&set)
    for signal in signals { sigaddset(&set, signal) }
    return set
  }
}
