import Foundation
import Glibc
import TestSupport
import Testing

@testable import Millrace

/// `millrace token`, as a person uses it.
@Suite(.timeLimit(.minutes(15))) struct TokenToolTests {
  private let folder = TemporaryFolder()
  private var file: [String] { ["--token-keys-file", folder.path + "/token.keys"] }

  private func token(_ arguments: [String], environment: [String: String] = [:]) async throws -> (Int32, String) {
    try await run(["token"] + arguments + file, environment: environment)
  }

  @Test func whatIsIssuedIsVerifiedAlsoAfterARotation() async throws {
    let first = try await token(["rotate"])
    #expect(first.0 == 0 && first.1.contains(" HS256 signs\n"), "\(first)")
    var status = stat()
    #expect(stat(folder.path + "/token.keys", &status) == 0 && status.st_mode & 0o777 == 0o600)
    let names = ["--jwt-issuer", "mill", "--jwt-audience", "api"]
    let issued = try await token(["issue", "--subject", "ann", "--scope", "admin", "--scope", "reports"] + names)
    #expect(issued.0 == 0 && issued.1.split(separator: ".").count == 3)
    let given = String(issued.1.dropLast())
    let verified = try await token(["verify", given] + names)
    #expect(verified.0 == 0)
    #expect(
      verified.1.hasPrefix(#"{"sub":"ann","scope":"admin reports","iss":"mill","aud":"api","iat":"#), "\(verified)")
    let other = try await token(["verify", given, "--jwt-audience", "other"])
    #expect(other == (1, "millrace: the token is not believed: it is for others\n"))

    let second = try await token(["rotate", "--algorithm", "ed25519", "--token-ttl", "60"])
    let lines = second.1.split(separator: "\n")
    #expect(second.0 == 0 && lines.count == 2 && lines[0].hasSuffix(" EdDSA signs"), "\(second)")
    #expect(lines[1].contains(/HS256 is believed until 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/), "\(second)")
    #expect(try await token(["verify", given]).0 == 0)
    // The algorithm stays what it was.
    let third = try await token(["rotate", "--drop-former"])
    #expect(third.1.split(separator: "\n").count == 1 && third.1.hasSuffix(" EdDSA signs\n"), "\(third)")
    #expect(
      try await token(["verify", given]) == (1, "millrace: the token is not believed: no key of that name lives\n"))
  }

  @Test func aTokenNeedNotStandOnACommandLine() async throws {
    _ = try await token(["rotate"])
    let program = "\"\(executable)\" token"
    let names = file.joined(separator: " ")
    let said = try await shell("\(program) issue --subject ann \(names) | \(program) verify \(names)")
    #expect(said.hasPrefix(#"{"sub":"ann","iat":"#), "\(said)")
    #expect(try await shell("\(program) verify \(names) </dev/null 2>&1; echo $?").hasSuffix("it is no token\n1\n"))
  }

  @Test func thePublicPartVerifiesAndSignsNothing() async throws {
    _ = try await token(["rotate"])
    let shared = try await token(["public"])
    #expect(shared.0 == 1 && shared.1.contains("has no key for Ed25519"))
    _ = try await token(["rotate", "--algorithm", "ed25519"])
    let given = try await token(["issue"]).1.dropLast()
    let part = try await token(["public"])
    #expect(part.0 == 0 && part.1.contains(" EdDSA public ") && !part.1.contains("HS256 "), "\(part)")
    let path = folder.path + "/believers.keys"
    try part.1.write(toFile: path, atomically: false, encoding: .utf8)
    #expect(try await run(["token", "verify", String(given), "--token-keys-file", path]).code == 0)
    let refused = try await run(["token", "issue", "--token-keys-file", path])
    #expect(refused.code == 78 && refused.output.contains("has no key that signs"))
  }

  @Test func whoIsWrongIsToldHow() async throws {
    for (arguments, code, hint) in [
      ([], 2, "does one of issue, verify, rotate, public"), (["isue"], 2, "did you mean 'issue'?"),
      (["issue", "x"], 2, "'millrace token issue' takes no argument 'x'"),
      (["verify", "x", "y"], 2, "takes no argument 'y'"), (["issue", "--scope", "a\"b"], 2, "is not a scope"),
      (["issue", "--token-ttl", "0"], 2, "1 to 315360000"),
      (["rotate", "--algorithm", "rs256"], 2, "one of hs256, ed25519"),
      (["issue"], 78, "No such file or directory; 'millrace token rotate' makes such a file"),
      (["verify", "x"], 78, "No such file or directory"), (["public"], 78, "No such file or directory"),
    ] as [([String], Int32, String)] {
      let said = try await token(arguments)
      #expect(
        said.0 == code && said.1.contains(hint) && said.1.filter { $0 == "\n" }.count == 1, "\(arguments): \(said)")
    }
    try "nonsense\n".write(toFile: folder.path + "/token.keys", atomically: false, encoding: .utf8)
    let malformed = try await token(["rotate"])
    #expect(
      malformed.0 == 78 && malformed.1.hasSuffix("line 1 is no key, or that of an earlier line\n"), "\(malformed)")
    let elsewhere = try await run(["token", "rotate", "--token-keys-file", folder.path + "/none/token.keys"])
    #expect(elsewhere.code == 1 && elsewhere.output.contains("cannot write '"), "\(elsewhere)")
  }

  @Test func theDoctorLooksAtTheKeysThatAreNamed() async throws {
    let path = folder.path + "/token.keys"
    #expect(Doctor.tokenKeys(path).remedy == "millrace token rotate --token-keys-file \(path)")
    _ = try await token(["rotate"])
    #expect(Doctor.tokenKeys(path).remedy == nil && Doctor.tokenKeys(path).detail == "1 in \(path)")
    chmod(path, 0o644)
    #expect(Doctor.tokenKeys(path).remedy == "chmod 600 \(path)")
    try "x".write(toFile: path, atomically: false, encoding: .utf8)
    #expect(Doctor.tokenKeys(path).remedy?.hasPrefix("mv ") == true)
  }

  @Test func aRoleThatCannotReadItsKeysDoesNotStart() async throws {
    let key = ["SECRET_KEY": String(repeating: "0", count: 64)]
    let path = folder.path + "/token.keys"
    for line in [["api", "--listen", "127.0.0.1:1"], ["balance", "--backend", "127.0.0.1:1"]] {
      let (code, output) = try await run(line, environment: key.merging(["TOKEN_KEYS_FILE": path]) { $1 })
      #expect(code == 78 && output.hasPrefix("millrace: the keys of tokens, '\(path)': No such file"), "\(output)")
    }
    let none = try await run(
      ["api", "--listen", "127.0.0.1:1"], environment: key.merging(["TOKEN_ENDPOINT": "on"]) { $1 })
    #expect(none.code == 78 && none.output.hasPrefix("millrace: TOKEN_ENDPOINT: there is no key that signs"))
  }
}
