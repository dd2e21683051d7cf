import Glibc

/// How many descriptors this process may have open.
public enum DescriptorLimit {
  /// Asks for as many as the system allows without more privileges: every client is one, and the usual 1,024 are for
  /// programs that use select(2).
  public static func raise() {
    guard var limit = current else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }

  /// How many it may have once the limit is raised.
  public static var most: Int { Int(clamping: current?.rlim_max ?? 0) }

  /// How many more it may open now.
  public static var free: Int {
    guard let limit = current else { return 0 }
    return max(0, Int(clamping: limit.rlim_cur) - inUse)
  }

  private static var current: rlimit? {
    var limit = rlimit()
    return getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 ? limit : nil
  }

  private static var inUse: Int {
    guard let folder = opendir("/proc/self/fd") else { return 0 }
    defer { closedir(folder) }
    // `.`, `..` and the folder's own descriptor.
    var count = -3
    while readdir(folder) != nil { count += 1 }
    return max(0, count)
  }
}
