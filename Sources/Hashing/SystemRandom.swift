import Glibc

/// The kernel's random source, for salts, nonces and keys.
enum SystemRandom {
  /// `count` unpredictable bytes, at most 256 (the bound of getentropy(3)): no descriptor, never before the kernel's
  /// source is seeded.
  public static func bytes(_ count: Int) -> [UInt8] {
    precondition(count <= 256, "getentropy gives at most 256 bytes")
    var bytes = [UInt8](repeating: 0, count: count)
    let code = getentropy(&bytes, count)
    precondition(code == 0, "getentropy refused")
    return bytes
  }
}
