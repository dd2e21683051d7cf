import Glibc
import Reactor

/// Tells a tool that somebody wants it to end, so that it can clear away what it has made. A second wish ends it at
/// once.
final class Interruption: SignalReceiver {
  /// The signals that are such a wish.
  static let signals = [SIGINT, SIGTERM, SIGHUP]

  /// The first that has come, nil if none has.
  private(set) var signal: CInt?
  /// What it does, if it comes while that is set.
  var whenItComes: () -> Void = {}

  /// What a command that `signal` has ended ends with, as shells count it.
  static func exitCode(of signal: CInt) -> CInt { 128 + signal }

  /// A signal has come.
  func signalled(_ signal: CInt, on reactor: isolated Reactor) {
    if let first = self.signal { exit(Interruption.exitCode(of: first)) }
    self.signal = signal
    whenItComes()
  }
}
