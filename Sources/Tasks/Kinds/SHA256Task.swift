import Hashing

extension TaskKind {
  /// SHA-256 (FIPS 180-4).
  public static let sha256 = HashTask.kind(
    name: "sha256", displayName: "SHA256", lines: [TaskLine(3, .quick), TaskLine(4, .bulky)],
    resultField: "sha256_hash", isCheap: true,
    isHash: { HashTask.isHex($0, 64) }
  ) { input, _ in SHA256.digest(of: input).hex }
}
