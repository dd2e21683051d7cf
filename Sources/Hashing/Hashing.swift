// Hashing: everything that is computed from secrets or about inputs: digests, argon2id, authenticated encryption.
//
// The API calls it for cache keys, task digests and `verify`, the worker for the tasks themselves; it calls libcrypto
// and libargon2 and nobody of ours but Basics. It opens no socket and starts no thread: what takes long (argon2) is
// called from a compute pool by the roles. A new algorithm is a file of its own here, with known answers in its tests.

import Glibc

/// The bounds of this room.
public enum Limits {
  /// Bytes of a secret key.
  public static let keyBytes = 32
  /// Bytes read from a key file before it is refused as something else.
  public static let keyFileBytesMax = 4096
  /// Passes over the memory that a foreign argon2 hash may ask for.
  public static let argon2PassesMax: UInt32 = 32
  /// Memory in KiB that a foreign argon2 hash may ask for: 256 MiB.
  public static let argon2MemoryKiBMax: UInt32 = 262_144
  /// Lanes that a foreign argon2 hash may ask for, each one a thread.
  public static let argon2ParallelismMax: UInt32 = 16
  /// Bytes of an argon2 hash string in PHC form before it is refused unread.
  public static let argon2EncodedBytesMax = 512
  /// Bytes of salt in a foreign argon2 hash; the lower bound is the one of RFC 9106 section 3.1.
  public static let argon2SaltBytes = 8...64
  /// Bytes of output in a foreign argon2 hash.
  public static let argon2OutputBytes = 12...128
  /// Jobs that may wait for memory before more are refused.
  public static let budgetWaitersMax = 65_536
}

/// What can go wrong in this room. Nothing here carries an input, a key or a hash.
public enum HashingError: Error, Equatable, Sendable, CustomStringConvertible {
  /// A foreign hash string is not argon2id in PHC form, version 19; the client's fault.
  case malformedHash
  /// A foreign hash asks for more than `Limits` allow; the client's fault, found before any memory is taken.
  case parametersOutOfBounds
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
    case .malformedHash: "not an argon2id hash of version 19"
    case .parametersOutOfBounds: "the hash asks for too much memory, time or threads"
    case .invalidParameters: "argon2 does not allow these parameters"
    case .resourcesExhausted(let code): "out of memory or threads (libargon2: \(code))"
    case .notAuthentic: "sealed with another key, or damaged"
    case .keyFile(let code): "\(String(cString: strerror(code))); remove the file or mend its owner"
    case .malformedKey: "it does not hold 64 hexadecimal digits; put the right key there, or remove the file"
    }
  }
}
