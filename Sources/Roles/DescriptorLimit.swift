import Glibc

/// How many descriptors this process may have open.
enum DescriptorLimit {
  /// Asks for as many as the system allows without more privileges: every client is one, and the usual 1,024 are for
  /// programs that use select(2).
  static func raise() {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }
}
