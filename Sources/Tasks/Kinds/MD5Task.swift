import Hashing

extension TaskKind {
  /// MD5 (RFC 1321): not for security, asked for all the same.
  public static let md5 = HashTask.kind(
    name: "md5", displayName: "MD5", lines: [TaskLine(0, .quick), TaskLine(1, .bulky)], resultField: "md5_hash",
    isCheap: true, isHash: { HashTask.isHex($0, 32) }
  ) { input, _ in
    MD5.digest(of: input).hex
  }
}
