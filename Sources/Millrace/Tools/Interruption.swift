import Glibc
import Reactor

/// Tells a tool that somebody wants it to end, so that it can clear away what it has made. A second wish ends it at
/// once, as the first does while there is nothing to be cleared away.
final class Interruption: SignalReceiver {
  /// The signals that are such a wish.
  static let signals = [SIGINT, SIGTERM, SIGHUP]

  /// What the first wish does.
  var whenItComes: (() -> Void)?
  private var hasCome = false

  /// What a command that `signal` has ended ends with, as shells count it.
  static func exitCode(of signal: CInt) -> CInt { 128 + signal }

  /// A signal has come.
  func signalled(_ signal: CInt, on reactor: isolated Reactor) {
    guard let whenItComes, !hasCome else { exit(Interruption.exitCode(of: signal)) }
    hasCome = true
    whenItComes()
  }
}
