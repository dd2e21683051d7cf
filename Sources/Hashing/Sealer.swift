import Basics
import CCrypto

/// Encrypts and authenticates with AES-256-GCM (NIST SP 800-38D), so that what is stored is neither readable nor
/// exchangeable. Sealed bytes look so:
///
///     version (1) | nonce (12) | ciphertext (as long as the plaintext) | tag (16)
///
/// A nonce is random; with one key, 2^32 seals stay under the standard's bound for a collision.
public struct Sealer: Sendable {
  /// Bytes that sealing adds.
  static let overheadBytes = 1 + nonceBytes + tagBytes
  private static let version: UInt8 = 1
  private static let nonceBytes = 12
  private static let tagBytes = 16
  private let key: SecretKey

  /// Seals with `key`, which should be derived for this purpose alone.
  public init(key: SecretKey) {
    self.key = key
  }

  /// Seals `plaintext`, bound to `context`: whoever opens it must name the same context, such as the task's kind.
  public func seal(_ plaintext: [UInt8], context: [UInt8]) -> [UInt8] {
    let cipher = CipherContext()
    let nonce = SystemRandom.bytes(Sealer.nonceBytes)
    var sealed = [UInt8](repeating: 0, count: plaintext.count + Sealer.overheadBytes)
    sealed[0] = Sealer.version
    sealed.replaceSubrange(1..<1 + Sealer.nonceBytes, with: nonce)
    let done = sealed.withUnsafeMutableBufferPointer { output in
      let text = output.baseAddress! + 1 + Sealer.nonceBytes
      var count: CInt = 0
      return EVP_EncryptInit_ex(cipher.pointer, EVP_aes_256_gcm(), nil, key.bytes, nonce) == 1
        && cipher.authenticate([Sealer.version] + context, encrypting: true)
        && EVP_EncryptUpdate(cipher.pointer, text, &count, plaintext, CInt(plaintext.count)) == 1
        && EVP_EncryptFinal_ex(cipher.pointer, text + plaintext.count, &count) == 1
        && EVP_CIPHER_CTX_ctrl(
          cipher.pointer, EVP_CTRL_AEAD_GET_TAG, CInt(Sealer.tagBytes), text + plaintext.count) == 1
    }
    precondition(done, "libcrypto refused to encrypt")
    return sealed
  }

  /// The plaintext of `sealed`.
  /// - Throws: `notAuthentic` if anything about it is not as it was sealed.
  public func open(_ sealed: [UInt8], context: [UInt8]) throws(HashingError) -> [UInt8] {
    guard sealed.count >= Sealer.overheadBytes, sealed[0] == Sealer.version else { throw .notAuthentic }
    let cipher = CipherContext()
    let textStart = 1 + Sealer.nonceBytes
    let textCount = sealed.count - Sealer.overheadBytes
    let nonce = Array(sealed[1..<textStart])
    var tag = Array(sealed[(textStart + textCount)...])
    // One byte more than needed: an empty array has no address to give.
    var plaintext = [UInt8](repeating: 0, count: textCount + 1)
    var count: CInt = 0
    let done = sealed.withUnsafeBufferPointer { input in
      EVP_DecryptInit_ex(cipher.pointer, EVP_aes_256_gcm(), nil, key.bytes, nonce) == 1
        && cipher.authenticate([Sealer.version] + context, encrypting: false)
        && EVP_DecryptUpdate(cipher.pointer, &plaintext, &count, input.baseAddress! + textStart, CInt(textCount)) == 1
        && EVP_CIPHER_CTX_ctrl(cipher.pointer, EVP_CTRL_AEAD_SET_TAG, CInt(Sealer.tagBytes), &tag) == 1
    }
    guard done, finish(cipher, &plaintext, at: textCount) else {
      SecretBytes.wipe(&plaintext)
      throw .notAuthentic
    }
    plaintext.removeLast()
    return plaintext
  }

  private func finish(_ cipher: CipherContext, _ plaintext: inout [UInt8], at offset: Int) -> Bool {
    var count: CInt = 0
    return plaintext.withUnsafeMutableBufferPointer {
      EVP_DecryptFinal_ex(cipher.pointer, $0.baseAddress! + offset, &count) == 1
    }
  }
}

/// Owns one of libcrypto's cipher contexts.
private final class CipherContext {
  let pointer: OpaquePointer

  init() {
    guard let pointer = EVP_CIPHER_CTX_new() else { fatalError("out of memory for a cipher context") }
    self.pointer = pointer
  }

  deinit { EVP_CIPHER_CTX_free(pointer) }

  /// Adds data that is authenticated but not encrypted.
  func authenticate(_ data: [UInt8], encrypting: Bool) -> Bool {
    var count: CInt = 0
    return encrypting
      ? EVP_EncryptUpdate(pointer, nil, &count, data, CInt(data.count)) == 1
      : EVP_DecryptUpdate(pointer, nil, &count, data, CInt(data.count)) == 1
  }
}
