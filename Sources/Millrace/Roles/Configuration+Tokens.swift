import Glibc
import Launcher
import Telemetry
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

  /// What believes and issues tokens; nil if there is no file of keys. That it was read anew, or could not be, is told
  /// to `log`.
  /// - Throws: `CommandError` if the file cannot be read.
  func tokens(_ log: Logger?) throws(CommandError) -> TokenAuthority? {
    guard let path = text(.tokenKeysFile) else { return nil }
    do throws(TokenKeys.Failure) {
      return try TokenAuthority(keysAt: path, rules: tokenRules) { failure in
        if let failure {
          log?.warning(
            "the keys of tokens cannot be read; the former ones stay", [("file", path), ("reason", "\(failure)")])
        } else {
          log?.info("the keys of tokens were read again", [("file", path)])
        }
      }
    } catch {
      throw Configuration.unreadable(path, error)
    }
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
