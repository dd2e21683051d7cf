import Basics
import Glibc
import Tokens

/// `millrace token`: makes tokens and says whether one is believed, and changes the keys that they are signed with.
enum TokenTool {
  /// Does what the first operand says and returns what is to be printed.
  /// - Throws: `CommandError`: 1 if a token is not believed or a file cannot be written, 2 for a wrong command line,
  ///   78 if the file of keys cannot be read.
  static func run(_ configuration: Configuration) throws(CommandError) -> String {
    let names = TokenAction.allCases.map(\.rawValue)
    guard let name = configuration.operands.first else {
      throw .usage("'millrace token' does one of \(names.joined(separator: ", ")); see 'millrace token --help'")
    }
    guard let action = TokenAction(rawValue: name) else {
      let near = Spelling.nearest(to: name, in: names).map { "did you mean '\($0)'?" }
      throw .usage("'millrace token' cannot '\(name)'; " + (near ?? "it can \(names.joined(separator: ", "))"))
    }
    guard action == .verify || configuration.operands.count == 1 else {
      throw .usage("'millrace token \(name)' takes no argument '\(configuration.operands[1])'")
    }
    switch action {
    case .issue: return try issue(configuration)
    case .verify: return try verify(configuration)
    case .rotate: return try rotate(configuration)
    case .public: return try publicPart(configuration)
    }
  }

  private static func authority(_ configuration: Configuration) throws(CommandError) -> TokenAuthority {
    do throws(TokenKeys.Failure) {
      return try TokenAuthority(keysAt: configuration.tokenKeysPath, rules: configuration.tokenRules)
    } catch {
      throw Configuration.unreadable(configuration.tokenKeysPath, error)
    }
  }

  private static func issue(_ configuration: Configuration) throws(CommandError) -> String {
    let scopes = configuration.list(.tokenScope)
    if let wrong = scopes.first(where: { !$0.utf8.allSatisfy(isOfScope) }) {
      throw .usage("--scope: '\(wrong)' is not a scope of visible ASCII characters without quotes and blanks")
    }
    let token = try authority(configuration).token(
      for: configuration.text(.tokenSubject) ?? "", scopes: scopes, lifetimeSeconds: configuration.integer(.tokenTTL),
      at: Timestamp.current().seconds)
    guard let token else {
      throw .configuration("'\(configuration.tokenKeysPath)' has no key that signs: it only says whom to believe")
    }
    return String(decoding: token, as: UTF8.self) + "\n"
  }

  /// RFC 6749 §3.3.
  private static func isOfScope(_ byte: UInt8) -> Bool { 0x21...0x7E ~= byte && !"\"\\".utf8.contains(byte) }

  /// What a token says. One that stands on no command line is seen by nobody else on the machine.
  private static func verify(_ configuration: Configuration) throws(CommandError) -> String {
    let authority = try authority(configuration)
    let given = configuration.operands.count > 1 ? configuration.operands[1] : readLine() ?? ""
    do throws(TokenFault) {
      let claims = try authority.claims(of: Array(given.utf8), at: Timestamp.current().seconds)
      return String(decoding: claims.json, as: UTF8.self) + "\n"
    } catch {
      throw CommandError(message: "the token is not believed: \(error.rawValue)", exitCode: ExitCode.failure)
    }
  }

  private static func rotate(_ configuration: Configuration) throws(CommandError) -> String {
    let path = configuration.tokenKeysPath
    let wished = ["hs256": TokenAlgorithm.hs256, "ed25519": .ed25519][configuration.choice(.tokenAlgorithm)]
    let lifetime = configuration.isOn(.tokenDropFormer) ? 0 : configuration.integer(.tokenTTL)
    let keys: TokenKeys
    do throws(TokenKeys.Failure) {
      let former = try TokenKeys.load(path: path)
      keys = try former.rotated(
        wished ?? former.signer?.algorithm ?? .hs256, lifetimeSeconds: lifetime, at: Timestamp.current().seconds)
    } catch .file(code: ENOENT) {
      keys = TokenKeys.new(wished ?? .hs256)
    } catch .full(let until) {
      throw CommandError(
        message: "'\(path)': \(TokenKeys.Failure.full(until: until)); --drop-former ends all of them now",
        exitCode: ExitCode.failure)
    } catch {
      throw Configuration.unreadable(path, error)
    }
    do throws(TokenKeys.Failure) {
      try keys.store(path: path)
    } catch {
      throw CommandError(message: "cannot write '\(path)': \(error)", exitCode: ExitCode.failure)
    }
    return keys.keys.map { key in
      var role = key == keys.signer ? "signs" : "is believed"
      if let until = key.until {
        let time = Timestamp(microseconds: Int64(until) * 1_000_000).rfc3339.prefix(19)
        role += " until \(String(decoding: time, as: UTF8.self))Z"
      }
      return "\(key.id) \(key.algorithm.rawValue) \(role)\n"
    }.joined()
  }

  private static func publicPart(_ configuration: Configuration) throws(CommandError) -> String {
    let path = configuration.tokenKeysPath
    let keys: TokenKeys
    do throws(TokenKeys.Failure) {
      keys = try TokenKeys.load(path: path)
    } catch {
      throw Configuration.unreadable(path, error)
    }
    guard let part = keys.publicPart else {
      throw CommandError(
        message: "'\(path)' has no key for Ed25519: of the others whoever verifies can also sign",
        exitCode: ExitCode.failure)
    }
    return part.text
  }
}
