/// Why a token is not believed; for logs and for whoever has it on a command line. Clients hear only that it is not.
public enum TokenFault: String, Error, CaseIterable, Sendable {
  /// It is no signed token in three parts, or too long.
  case malformed = "it is no token"
  /// It asks for something that must be understood and is not (RFC 7515 §4.1.11).
  case critical = "it has an extension that is not known here"
  /// It names a key that there is not, or not any more.
  case unknownKey = "no key of that name lives"
  /// It names an algorithm that its key is not for.
  case wrongAlgorithm = "its algorithm is not that of its key"
  /// Somebody else has made it, or it was changed.
  case badSignature = "its signature is wrong"
  /// It has an end, and that is over.
  case expired = "it has expired"
  /// It has no end.
  case unexpiring = "it never expires"
  /// It is good later, or was made in the future.
  case notYetValid = "it is not good yet"
  /// It was made by somebody else.
  case wrongIssuer = "its issuer is another one"
  /// It is for somebody else.
  case wrongAudience = "it is for others"
}
