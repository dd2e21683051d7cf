import CCrypto

/// Signatures after RFC 8032: who knows only the public key can verify and not sign.
public enum Ed25519 {
  /// Bytes of a key of either kind, and of a signature.
  public static let keyBytes = 32
  static let signatureBytes = 64

  /// The public key of `key`.
  public static func publicKey(of key: SecretKey) -> [UInt8] {
    withKey(EVP_PKEY_new_raw_private_key(NID_ED25519, nil, key.bytes, key.bytes.count)) { handle in
      var bytes = [UInt8](repeating: 0, count: keyBytes)
      var count = bytes.count
      precondition(EVP_PKEY_get_raw_public_key(handle, &bytes, &count) == 1, "libcrypto refused a key")
      return bytes
    }
  }

  /// The signature of `message` under `key`.
  public static func signature(of message: [UInt8], under key: SecretKey) -> [UInt8] {
    withKey(EVP_PKEY_new_raw_private_key(NID_ED25519, nil, key.bytes, key.bytes.count)) { handle in
      let context = EVP_MD_CTX_new()
      defer { EVP_MD_CTX_free(context) }
      var signature = [UInt8](repeating: 0, count: signatureBytes)
      var count = signature.count
      let done =
        EVP_DigestSignInit(context, nil, nil, nil, handle) == 1
        && EVP_DigestSign(context, &signature, &count, message, message.count) == 1
      precondition(done && count == signatureBytes, "libcrypto refused to sign")
      return signature
    }
  }

  /// Whether `signature` is that of `message` under the key whose public part is `publicKey`; false also if that is
  /// none.
  public static func isValid(_ signature: [UInt8], of message: [UInt8], publicKey: [UInt8]) -> Bool {
    guard signature.count == signatureBytes, publicKey.count == keyBytes,
      let handle = EVP_PKEY_new_raw_public_key(NID_ED25519, nil, publicKey, publicKey.count)
    else { return false }
    defer { EVP_PKEY_free(handle) }
    let context = EVP_MD_CTX_new()
    defer { EVP_MD_CTX_free(context) }
    return EVP_DigestVerifyInit(context, nil, nil, nil, handle) == 1
      && EVP_DigestVerify(context, signature, signature.count, message, message.count) == 1
  }

  private static func withKey<R>(_ handle: OpaquePointer?, _ body: (OpaquePointer) -> R) -> R {
    guard let handle else { fatalError("libcrypto offers no Ed25519") }
    defer { EVP_PKEY_free(handle) }
    return body(handle)
  }
}
