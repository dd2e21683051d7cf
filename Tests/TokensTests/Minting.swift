import Basics
import Hashing

@testable import Tokens

/// Tokens as anybody can make them, who need not follow any rule.
enum Minting {
  static let now = 1_800_000_000.0
  /// A payload that is good for a minute.
  static let good = #"{"exp":1800000060}"#

  /// A token of these two JSON texts, signed by `key`.
  static func token(_ header: String, _ payload: String, _ key: TokenKey) -> [UInt8] {
    let message = Base64URL.encode(header.utf8) + [0x2E] + Base64URL.encode(payload.utf8)
    return message + [0x2E] + Base64URL.encode(key.signature(of: message)!)
  }

  /// The header that `key` puts before what it signs, with `more` behind.
  static func header(_ key: TokenKey, _ more: String = "") -> String {
    #"{"alg":"\#(key.algorithm.rawValue)","kid":"\#(key.id)"\#(more)}"#
  }

  /// The fault of `token`, nil if it is believed.
  static func fault(
    of token: [UInt8], _ keys: TokenKeys, at now: Double = now, _ change: (inout TokenRules) -> Void = { _ in }
  ) -> TokenFault? {
    var rules = TokenRules()
    change(&rules)
    do throws(TokenFault) {
      _ = try TokenVerifier(keys: keys, rules: rules).claims(of: token, at: now)
      return nil
    } catch {
      return error
    }
  }
}
