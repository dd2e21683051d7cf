import CTLS

/// Whom a client trusts, and how it proves who it is. It is read once, and used by any thread.
public final class TLSContext: @unchecked Sendable {
  // Safe because: an SSL_CTX may be used by several threads as long as nobody changes it (OpenSSL's manual,
  // "openssl-threads"), and nobody does after `init`.
  let context: OpaquePointer

  /// Trusts servers whose certificates are signed by one in the file `authorities`, PEM, or by one that the system
  /// trusts if that is nil. With `certificate` and `key`, files in PEM too, it proves who it is where a server asks.
  /// - Throws: `TLSError` if a file cannot be read or holds something else.
  public init(authorities: String?, certificate: String? = nil, key: String? = nil) throws(TLSError) {
    ERR_clear_error()
    guard let context = SSL_CTX_new(TLS_client_method()) else { throw TLSError.last("TLS") }
    self.context = context
    // TLS 1.2 or later (RFC 8996): a macro in C.
    SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, Int(TLS1_2_VERSION), nil)
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nil)
    if let authorities {
      guard SSL_CTX_load_verify_file(context, authorities) == 1 else { throw TLSError.last(authorities) }
    } else {
      guard SSL_CTX_set_default_verify_paths(context) == 1 else { throw TLSError.last("the system's certificates") }
    }
    if let certificate {
      guard SSL_CTX_use_certificate_chain_file(context, certificate) == 1 else { throw TLSError.last(certificate) }
    }
    if let key {
      guard SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1 else { throw TLSError.last(key) }
    }
  }

  deinit {
    SSL_CTX_free(context)
  }
}
