import CArgon2

/// The cost of an argon2id hash (RFC 9106).
public struct Argon2Parameters: Equatable, Sendable {
  /// Passes over the memory, 1 or more.
  public var passes: UInt32
  /// Memory in KiB, at least 8 for each lane.
  public var memoryKiB: UInt32
  /// Lanes, each computed by a thread, 1 or more.
  public var parallelism: UInt32

  /// The cost with these numbers; the defaults are what the system that this one replaced used.
  public init(passes: UInt32 = 6, memoryKiB: UInt32 = 65_536, parallelism: UInt32 = 2) {
    self.passes = passes
    self.memoryKiB = memoryKiB
    self.parallelism = parallelism
  }

  /// Whether the algorithm allows these numbers and `Limits` do.
  public var isValid: Bool {
    (1...Limits.argon2PassesMax).contains(passes) && (1...Limits.argon2ParallelismMax).contains(parallelism)
      && memoryKiB >= 8 * parallelism && memoryKiB <= Limits.argon2MemoryKiBMax
  }

  /// Memory that one computation takes, for admission.
  public var bytes: Int { Int(memoryKiB) * 1024 }
}

/// Argon2id through libargon2. Calls take as long as the parameters say, so they belong on a compute pool.
public enum Argon2 {
  private static let saltBytes = 16
  private static let outputBytes = 32

  /// Hashes `password` with a new random salt into a PHC string, `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
  /// - Throws: `invalidParameters`, `resourcesExhausted`.
  public static func hash(_ password: [UInt8], parameters: Argon2Parameters) throws(HashingError) -> [UInt8] {
    try hash(password, salt: SystemRandom.bytes(saltBytes), parameters: parameters)
  }

  static func hash(
    _ password: [UInt8], salt: [UInt8], parameters: Argon2Parameters
  ) throws(HashingError) -> [UInt8] {
    guard parameters.isValid else { throw .invalidParameters }
    let room = argon2_encodedlen(
      parameters.passes, parameters.memoryKiB, parameters.parallelism, UInt32(salt.count), UInt32(outputBytes),
      Argon2_id)
    var encoded = [CChar](repeating: 0, count: room)
    let code = argon2id_hash_encoded(
      parameters.passes, parameters.memoryKiB, parameters.parallelism, password, password.count, salt, salt.count,
      outputBytes, &encoded, encoded.count)
    guard code == ARGON2_OK.rawValue else { throw .resourcesExhausted(code: code) }
    return encoded.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
  }
}
