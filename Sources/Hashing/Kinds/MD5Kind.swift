extension HashKind {
  /// MD5 (RFC 1321): not for security, asked for all the same.
  public static let md5 = HashKind(
    name: "md5", displayName: "MD5", resultField: "md5_hash", isHeavy: false, isSecret: false
  ) { input, _ in MD5.digest(of: input).hex }
}
