/// What the kernel proves about a request whose connection has ended without a response.
public enum Delivery: UInt8, CaseIterable, Sendable {
  /// No byte of it has left.
  case nothingSent
  /// The peer's end had come before any byte was acknowledged: it had closed before the request arrived.
  case unacknowledged
  /// The whole request lay unread when the peer closed; known only of a Unix socket, or where an operator vouches for
  /// the backend.
  case resetWhole
  /// It may have been read.
  case unknown

  /// Whether it is proved that nobody has read the request.
  var isUnread: Bool { self != .unknown }
}
