import CCrypto

/// HMAC-SHA-256 after RFC 2104, under one key. Setting a key up costs more than the code of a short message, so who
/// makes many codes keeps one of these; it belongs to one thread at a time.
public final class HMACSHA256 {
  private let context: OpaquePointer

  /// Codes under `key`.
  public init(_ key: SecretKey) {
    let algorithm = EVP_MAC_fetch(nil, "HMAC", nil)
    guard let context = EVP_MAC_CTX_new(algorithm) else { fatalError("libcrypto offers no HMAC") }
    EVP_MAC_free(algorithm)
    self.context = context
    var digest = Array("SHA256".utf8CString)
    let done = digest.withUnsafeMutableBufferPointer { name in
      let parameters = [
        OSSL_PARAM_construct_utf8_string("digest", name.baseAddress, 0), OSSL_PARAM_construct_end(),
      ]
      return EVP_MAC_init(context, key.bytes, key.bytes.count, parameters)
    }
    precondition(done == 1, "libcrypto refused a key")
  }

  deinit { EVP_MAC_CTX_free(context) }

  /// The first half of the code of `message`, its bytes big-endian.
  public func words(of message: [UInt8]) -> (high: UInt64, low: UInt64) {
    let bytes = code(of: message).bytes
    func word(_ start: Int) -> UInt64 { bytes[start..<start + 8].reduce(0) { $0 << 8 | UInt64($1) } }
    return (word(0), word(8))
  }

  /// The authentication code of `message`.
  public func code(of message: [UInt8]) -> Digest256 {
    withUnsafeTemporaryAllocation(byteCount: 32, alignment: 8) { output in
      let start = output.bindMemory(to: UInt8.self).baseAddress
      // Without a key it begins anew under the one it has.
      let done =
        EVP_MAC_init(context, nil, 0, nil) == 1 && EVP_MAC_update(context, message, message.count) == 1
        && EVP_MAC_final(context, start, nil, 32) == 1
      precondition(done, "libcrypto refused to authenticate")
      return Digest256(bytes: UnsafeRawBufferPointer(output))
    }
  }
}

extension SecretKey {
  /// The key for one purpose: HMAC-SHA-256 of the purpose's name under this key.
  public func derived(for purpose: StaticString) -> SecretKey {
    let name = purpose.withUTF8Buffer { Array($0) }
    return SecretKey(bytes: HMACSHA256(self).code(of: name).bytes)!
  }
}
