// TLS: encryption of a connection that somebody else carries (RFC 8446), by OpenSSL.
//
// Called by the protocols that can be spoken over it (Redis); libpq brings its own. It has no sockets: what is to be
// sent and what was received go through a session's two buffers.
//
//   TLSContext   whom we trust, and how we prove who we are: read once
//   TLSSession   one connection
//   TLSError     why there is none

/// The bounds of this room.
enum Limits {
  /// Bytes that are decrypted in one go: a record holds no more (RFC 8446 §5.1).
  static let recordBytesMax = 16 << 10
}
