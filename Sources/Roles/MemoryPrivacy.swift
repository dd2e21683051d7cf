import CLinux
import Glibc

/// Keeps what is in this process's memory out of files and away from other processes.
enum MemoryPrivacy {
  /// No core dump of this process or of those that it starts is written. A dump that is piped to a program is made all
  /// the same (core(5)); `close` is for those that must not have one.
  static func forbidCoreFiles() {
    var none = rlimit(rlim_cur: 0, rlim_max: 0)
    setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &none)
  }

  /// No dump at all, and other processes of the same user can neither trace this one nor read its memory (prctl(2),
  /// PR_SET_DUMPABLE); root still can. The price is that its `/proc` entries belong to root, so that only what the
  /// kernel shows to everybody can be asked about it: that is for roles through which passwords go, and not for the
  /// balancer, whose memory people measure.
  static func close() { clinux_close_memory() }
}
