import Glibc

/// What becomes of a secret input when it has been used.
public enum SecretBytes {
  /// Overwrites `bytes` with zeros, so that they are not found later in memory that was given back: a process that has
  /// computed many hashes would be full of passwords. They must be held in no other variable, or a copy is overwritten.
  public static func wipe(_ bytes: inout [UInt8]) {
    bytes.withUnsafeMutableBytes { buffer in
      // Unlike an assignment it is not left out as useless (explicit_bzero(3)).
      if let address = buffer.baseAddress { explicit_bzero(address, buffer.count) }
    }
  }

  /// Whether `given` is `secret`, without telling by how long that takes how much of it was right.
  public static func areEqual(_ given: some Collection<UInt8>, _ secret: some Collection<UInt8>) -> Bool {
    guard given.count == secret.count else { return false }
    return zip(given, secret).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
  }
}
