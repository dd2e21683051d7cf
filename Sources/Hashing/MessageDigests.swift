import CCrypto
import Glibc

/// MD5 after RFC 1321: here because clients ask for it, not because it is safe.
public enum MD5 {
  private static let algorithm = DigestAlgorithm("MD5")

  /// The digest of `bytes`.
  public static func digest(of bytes: UnsafeRawBufferPointer) -> Digest128 {
    algorithm.digest(of: bytes) { Digest128(bytes: UnsafeRawBufferPointer(rebasing: $0[..<16])) }
  }

  /// The digest of `bytes`.
  public static func digest(of bytes: [UInt8]) -> Digest128 {
    bytes.withUnsafeBytes { digest(of: $0) }
  }
}

/// SHA-256 after FIPS 180-4.
public enum SHA256 {
  static let algorithm = DigestAlgorithm("SHA256")

  /// The digest of `bytes`.
  public static func digest(of bytes: UnsafeRawBufferPointer) -> Digest256 {
    algorithm.digest(of: bytes) { Digest256(bytes: UnsafeRawBufferPointer(rebasing: $0[..<32])) }
  }

  /// The digest of `bytes`.
  public static func digest(of bytes: [UInt8]) -> Digest256 {
    bytes.withUnsafeBytes { digest(of: $0) }
  }
}

/// One of libcrypto's digests. Looking an algorithm up costs more than digesting a short input, so it is looked up
/// once, and each thread keeps one context for each.
struct DigestAlgorithm: @unchecked Sendable {
  // Safe because: the algorithm is never freed and constant once fetched, and the context behind the key belongs to
  // one thread.
  private let algorithm: OpaquePointer
  private let key: pthread_key_t

  /// The algorithm that libcrypto calls `name`; there must be one.
  public init(_ name: StaticString) {
    let fetched = name.withUTF8Buffer { buffer in
      buffer.withMemoryRebound(to: CChar.self) { EVP_MD_fetch(nil, $0.baseAddress, nil) }
    }
    guard let fetched else { fatalError("libcrypto offers no \(name)") }
    algorithm = fetched
    var key = pthread_key_t()
    let code = pthread_key_create(&key) { EVP_MD_CTX_free(OpaquePointer($0)) }
    precondition(code == 0, "the process is out of thread-local keys")
    self.key = key
  }

  /// Calls `body` with the digest of `bytes`, which is valid only inside it and followed by room for longer ones.
  public func digest<R>(of bytes: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> R) -> R {
    let context = threadContext()
    return withUnsafeTemporaryAllocation(byteCount: Int(EVP_MAX_MD_SIZE), alignment: 8) { output in
      let done =
        EVP_DigestInit_ex(context, algorithm, nil) == 1
        && EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) == 1
        && EVP_DigestFinal_ex(context, output.bindMemory(to: UInt8.self).baseAddress, nil) == 1
      // A digest of bytes in memory has no way to fail but a fault in this program.
      precondition(done, "libcrypto refused to digest")
      return body(UnsafeRawBufferPointer(output))
    }
  }

  private func threadContext() -> OpaquePointer {
    if let context = pthread_getspecific(key) { return OpaquePointer(context) }
    guard let context = EVP_MD_CTX_new() else { fatalError("out of memory for a digest context") }
    pthread_setspecific(key, UnsafeRawPointer(context))
    return context
  }
}
