extension HashKind {
  /// SHA-256 (FIPS 180-4).
  public static let sha256 = HashKind(
    name: "sha256", displayName: "SHA256", resultField: "sha256_hash", isHeavy: false, isSecret: false
  ) { input, _ in SHA256.digest(of: input).hex }
}
