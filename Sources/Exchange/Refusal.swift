/// Why a client gets an answer of the balancer's own instead of a backend's.
public enum Refusal: UInt8, CaseIterable, Sendable {
  /// What came is no head.
  case headMalformed
  /// The head took too long.
  case headTimedOut
  /// The address has used up its requests.
  case limited
  /// The body is not what its framing says.
  case bodyMalformed
  /// The body of a request to the balancer itself is too large.
  case bodyTooLarge
  /// The body took too long, or the client did not take the response.
  case bodyTimedOut
  /// No backend is fit, has room and could be reached in time.
  case noBackend
  /// The balancer lacks what a connection takes.
  case outOfResources
  /// The backend refused the connection.
  case backendRefused
  /// The connection to the backend took too long.
  case connectTimedOut
  /// The backend ended its connection without an answer.
  case backendFailed
  /// The backend's answer is malformed.
  case backendMalformed
  /// The backend took too long.
  case responseTimedOut

  /// Whether nothing can follow on this connection, because where the next request begins is unknown or the client is
  /// too slow to be waited for.
  var endsConnection: Bool {
    switch self {
    case .headMalformed, .headTimedOut, .bodyMalformed, .bodyTooLarge, .bodyTimedOut, .responseTimedOut: true
    default: false
    }
  }
}
