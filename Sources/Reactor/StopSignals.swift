import CLinux
import Glibc

/// The signals that ask a process to stop.
public enum StopSignals {
  /// SIGTERM, SIGINT, and SIGHUP unless the process was started with that one ignored, as nohup(1) does: a blocked
  /// signal comes to a signalfd also when it is ignored, so whoever watches has to honour the wish.
  public static var wanted: [CInt] {
    clinux_ignores(SIGHUP) == 0 ? [SIGTERM, SIGINT, SIGHUP] : [SIGTERM, SIGINT]
  }
}
