/// What a text that somebody sets has to look like, so that it is refused where it is read and not where it is used.
enum TextForm: Sendable {
  /// Anything that is not empty.
  case any
  /// A name in tables, logs and answers.
  case name
  /// The path of a request, which becomes part of one.
  case requestPath
  /// What comes behind `Bearer ` in a field of a request (RFC 6750 §2.1, in a wider sense).
  case token
  /// A pseudonym for `Via`, a token (RFC 9110 §7.6.3); empty for none.
  case pseudonym

  static let nameBytesMax = 63

  /// Whether `text` looks so.
  func isMet(by text: String) -> Bool {
    switch self {
    case .any: !text.isEmpty
    case .name:
      (1...TextForm.nameBytesMax).contains(text.utf8.count) && text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
    case .requestPath: text.hasPrefix("/") && text.utf8.allSatisfy { 0x21...0x7E ~= $0 && $0 != UInt8(ascii: "#") }
    case .token: !text.isEmpty && text.utf8.allSatisfy { 0x21...0x7E ~= $0 }
    case .pseudonym: text.utf8.allSatisfy { DotEnv.isOfName($0) || "-.".utf8.contains($0) }
    }
  }

  /// What it has to be, as the end of a sentence that begins with the value and "is not".
  var description: String {
    switch self {
    case .any: "text"
    case .name: "a name of 1 to \(TextForm.nameBytesMax) bytes without control characters"
    case .requestPath: "a path that begins with '/', without blanks and '#'"
    case .token: "a token of visible ASCII characters without blanks"
    case .pseudonym: "a name of letters, digits, '-', '.' and '_'"
    }
  }
}
