import CTLS

/// Why a connection cannot be encrypted.
public struct TLSError: Error, Equatable, Sendable, CustomStringConvertible {
  /// One line for a log.
  public let description: String

  init(_ description: String) {
    self.description = description
  }

  /// What OpenSSL says of its last failure, and forgets with that; `what` is what was tried.
  static func last(_ what: String) -> TLSError {
    let code = ERR_get_error()
    ERR_clear_error()
    guard code != 0 else { return TLSError(what) }
    return TLSError("\(what): \(ERR_reason_error_string(code).map { String(cString: $0) } ?? "error \(code)")")
  }
}
