// Hashing: everything that is computed from secrets or about inputs: digests, argon2id, authenticated encryption.
//
// Tasks calls it for the tasks themselves and what identifies them, the balancer for its hash ring; it calls libcrypto
// and libargon2 and nobody of ours but Basics. It opens no socket and starts no thread: what takes long (argon2) is
// called from a compute pool by the roles. A new algorithm is a file of its own here, with known answers in its tests.

import Glibc

/// The bounds of this room.
public enum Limits {
  /// Bytes of a secret key.
  static let keyBytes = 32
  /// Bytes read from a key file before it is refused as something else.
  static let keyFileBytesMax = 4096
  /// Passes over the memory that an argon2 hash may take.
  public static let argon2PassesMax: UInt32 = 32
  /// Memory in KiB that an argon2 hash may take: 256 MiB.
  public static let argon2MemoryKiBMax: UInt32 = 262_144
  /// Lanes of an argon2 hash, each one a thread.
  public static let argon2ParallelismMax: UInt32 = 16
  /// Bytes of a PHC string that is verified.
  static let argon2RecordBytesMax = 256
  /// Jobs that may wait for memory before more are refused.
  static let budgetWaitersMax = 65_536
}

/// What can go wrong in this room. Nothing here carries an input, a key or a hash.
public enum HashingError: Error, Equatable, Sendable, CustomStringConvertible {
  /// Argon2 parameters of our own that the algorithm does not allow; a configuration fault.
  case invalidParameters
  /// The library gave up, for want of memory or threads; `code` is libargon2's. May be retried.
  case resourcesExhausted(code: Int32)
  /// Sealed bytes were changed, cut, or made with another key, associated data or version.
  case notAuthentic
  /// A key file cannot be read or written; `code` is the system's.
  case keyFile(code: Int32)
  /// A key file holds something other than 64 hexadecimal digits.
  case malformedKey

  /// One line for a person.
  public var description: String {
    switch self {
    case .invalidParameters: "argon2 does not allow these parameters"
    case .resourcesExhausted(let code): "out of memory or threads (libargon2: \(code))"
    case .notAuthentic: "sealed with another key, or damaged"
    case .keyFile(let code): "\(String(cString: strerror(code))); remove the file or mend its owner"
    case .malformedKey: "it does not hold 64 hexadecimal digits; put the right key there, or remove the file"
    }
  }
}
