import Hashing

extension TaskKind {
  /// Argon2id (RFC 9106) with a random salt, as a PHC string.
  public static let argon2 = HashTask.kind(
    name: "argon2", displayName: "Argon2", lines: [TaskLine(2, .heavy)], resultField: "argon2_hash", isSecret: true,
    isHash: { $0.starts(with: "$argon2id$".utf8) },
    memoryBytes: { $0.argon2.bytes }
  ) { (input, parameters) throws(HashingError) in try Argon2.hash(input, parameters: parameters.argon2) }
}
