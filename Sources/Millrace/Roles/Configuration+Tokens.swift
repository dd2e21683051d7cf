import Glibc
import Launcher
import Tokens

extension Configuration {
  /// What is asked of tokens.
  var tokenRules: TokenRules {
    var rules = TokenRules()
    rules.issuer = text(.tokenIssuer)
    rules.audience = text(.tokenAudience)
    rules.allowsUnexpiring = isOn(.allowUnexpiring)
    return rules
  }

  /// The file of keys that a tool works on: the one that was named, or that of the system in the data folder.
  var tokenKeysPath: String { text(.tokenKeysFile) ?? Launch.tokenKeys(below: text(.dataFolder) ?? "") }

  /// That the file of keys at `path` is none.
  static func unreadable(_ path: String, _ failure: TokenKeys.Failure) -> CommandError {
    let isMissing = failure == .file(code: ENOENT)
    return .configuration(
      "the keys of tokens, '\(path)': \(failure)" + (isMissing ? "; 'millrace token rotate' makes such a file" : ""))
  }
}
