import CTLS

/// One encrypted connection, a client's side, without a socket: what came is handed to `receive`, and what `sealed`
/// returns is to be sent, after each call of any other method.
///
///     shakeHands ──► false: send, wait, receive, once more ──► true ──► seal, open
public final class TLSSession {
  private let session: OpaquePointer
  /// What came and was not opened yet; the session owns it.
  private let incoming: OpaquePointer
  /// What was sealed and not handed out yet; likewise.
  private let outgoing: OpaquePointer

  /// A connection to a server whose certificate must be for `serverName`, if that is not nil.
  /// - Throws: `TLSError`.
  public init(_ context: TLSContext, serverName: String?) throws(TLSError) {
    guard let session = SSL_new(context.context), let incoming = BIO_new(BIO_s_mem()),
      let outgoing = BIO_new(BIO_s_mem())
    else { throw TLSError.last("TLS") }
    (self.session, self.incoming, self.outgoing) = (session, incoming, outgoing)
    SSL_set_bio(session, incoming, outgoing)
    SSL_set_connect_state(session)
    guard let serverName else { return }
    let isAddress = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session), serverName) == 1
    guard isAddress || SSL_set1_host(session, serverName) == 1 else { throw TLSError.last(serverName) }
    // An address is never asked for by name (RFC 6066 §3).
    if !isAddress {
      _ = serverName.withCString {
        SSL_ctrl(
          session, SSL_CTRL_SET_TLSEXT_HOSTNAME, Int(TLSEXT_NAMETYPE_host_name), UnsafeMutableRawPointer(mutating: $0))
      }
    }
  }

  deinit {
    SSL_free(session)
  }

  /// Goes on with the handshake.
  /// - Returns: whether it is over.
  /// - Throws: `TLSError` if the server could not prove who it is, or something else is spoken here.
  public func shakeHands() throws(TLSError) -> Bool {
    ERR_clear_error()
    let outcome = SSL_do_handshake(session)
    if outcome == 1 { return true }
    if SSL_get_error(session, outcome) == SSL_ERROR_WANT_READ { return false }
    let verdict = SSL_get_verify_result(session)
    guard verdict == X509_V_OK else {
      ERR_clear_error()
      throw TLSError("the server's certificate: \(String(cString: X509_verify_cert_error_string(verdict)))")
    }
    throw TLSError.last("TLS handshake")
  }

  /// Takes a copy of what came.
  public func receive(_ bytes: UnsafeRawBufferPointer) {
    // A buffer in memory takes everything.
    if bytes.count > 0 { BIO_write(incoming, bytes.baseAddress, CInt(bytes.count)) }
  }

  /// Calls `body` with each part of what has come, decrypted; the bytes are valid only inside it.
  /// - Throws: `TLSError` if it was tampered with, or ended.
  public func open(_ body: (UnsafeRawBufferPointer) -> Void) throws(TLSError) {
    ERR_clear_error()
    let part = UnsafeMutableRawBufferPointer.allocate(byteCount: Limits.recordBytesMax, alignment: 1)
    defer { part.deallocate() }
    while true {
      let count = SSL_read(session, part.baseAddress, CInt(part.count))
      if count <= 0 {
        if SSL_get_error(session, count) == SSL_ERROR_WANT_READ { return }
        throw TLSError.last("TLS")
      }
      body(UnsafeRawBufferPointer(rebasing: part[..<Int(count)]))
    }
  }

  /// Encrypts `bytes`.
  public func seal(_ bytes: UnsafeRawBufferPointer) {
    // It cannot fail for want of room; after the end of the connection nothing more is sent.
    if bytes.count > 0 { SSL_write(session, bytes.baseAddress, CInt(bytes.count)) }
  }

  /// What is to be sent.
  public func sealed() -> [UInt8] {
    let count = BIO_ctrl_pending(outgoing)
    guard count > 0 else { return [] }
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      filled = Int(max(0, BIO_read(outgoing, buffer.baseAddress, CInt(count))))
    }
  }
}
