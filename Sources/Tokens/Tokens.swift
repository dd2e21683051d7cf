// Tokens: who may call. JSON Web Tokens (RFC 7519) that are signed by this system and believed by it.
//
// `Admission` and the API's `GET /token` ask a `TokenAuthority`; the tool `millrace token` also changes its keys. It
// calls Hashing for cryptography and knows neither HTTP nor where a token comes from. It has no sockets and reads no
// clock: whoever asks says what time it is, in seconds since the Unix epoch.
//
//   TokenAuthority   what a process believes and issues: its rules, and the keys of its file as they are now
//   TokenVerifier    whether a token may be believed, and what it says
//   BelievedTokens   those whose signatures were good lately
//   TokenClaims      what a token says
//   Keys/            a key with the one algorithm that it is for, those that live, and their file
//
// A further algorithm is a case of `TokenAlgorithm`; a further claim belongs into `TokenClaims`.

/// The bounds of this room.
public enum Limits {
  /// Bytes of a token; a longer one is not looked at.
  static let tokenBytesMax = 8192
  /// Tokens whose signatures need not be looked at again, and bytes of one of them.
  static let rememberedTokensMax = 1024
  static let rememberedTokenBytesMax = 1024
  /// How many seconds the clocks of two machines may differ.
  static let leewaySeconds: Double = 30
  /// Keys in a file.
  static let keysMax = 8
  /// How many seconds a former key lives beyond the last of its tokens: for the leeway, and for processes that hear of
  /// the new key a little later.
  static let rotationSlackSeconds: Double = 60
  /// Bytes of a file of keys.
  static let keyFileBytesMax = 8192
  /// Bytes of a key's name.
  static let keyNameBytesMax = 64
  /// How many seconds a file of keys is believed to be as it was when it was last looked at.
  static let lookEverySeconds: Double = 1
  /// How long a token may last, in seconds: ten years.
  public static let lifetimeSecondsMax = 315_360_000
}
