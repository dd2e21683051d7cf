public import HTTPSyntax
public import Reactor

/// Why a request has no response.
public enum HTTPClientError: Error, Equatable, Sendable {
  /// No connection could be made; the request was not sent.
  case unreachable(SystemError)
  /// The deadline passed.
  case deadline
  /// The connection ended before the response did.
  case closed
  /// What came is not HTTP.
  case malformed(HeadError)
  /// The body is larger than the caller takes.
  case tooLarge
}
