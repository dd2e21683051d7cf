import Glibc
import Hashing
import TestSupport
import Testing

@testable import Tokens

@Suite(.timeLimit(.minutes(5))) struct KeyFileTests {
  static let zeros = String(repeating: "0", count: 64)

  @Test func `keys are read as they were written, by their owner alone unless somebody has let others`() throws {
    let folder = TemporaryFolder()
    let path = folder.path + "/token.keys"
    #expect(throws: TokenKeys.Failure.file(code: ENOENT)) { try TokenKeys.load(path: path) }
    let made = try TokenKeys.loadOrCreate(path: path, .hs256)
    #expect(try TokenKeys.loadOrCreate(path: path, .hs256) == made)
    var status = stat()
    #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    // In a container the file of its owner may have to be read by another one.
    chmod(path, 0o644)
    let keys = try made.rotated(.ed25519, lifetimeSeconds: 3600, at: Minting.now)
    try keys.store(path: path)
    #expect(try TokenKeys.load(path: path) == keys)
    #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o644)
    #expect(throws: TokenKeys.Failure.file(code: ENOENT)) { try keys.store(path: folder.path + "/none/token.keys") }
    #expect(throws: TokenKeys.Failure.file(code: EISDIR)) { try TokenKeys.load(path: folder.path) }
    // A path that cannot be replaced leaves no draft behind.
    #expect(throws: TokenKeys.Failure.self) { try keys.store(path: folder.path) }
    #expect(access("\(folder.path).\(getpid())", F_OK) != 0)
  }

  @Test func `who rotates the keys of others as root leaves them theirs`() throws {
    guard geteuid() == 0 else { return }
    let folder = TemporaryFolder()
    let path = folder.path + "/token.keys"
    try TokenKeys.new(.hs256).store(path: path)
    chown(path, 4242, 4243)
    try TokenKeys.new(.hs256).store(path: path)
    var status = stat()
    #expect(stat(path, &status) == 0 && status.st_uid == 4242 && status.st_gid == 4243)
  }

  @Test func `who has only the public part believes and cannot sign`() throws {
    let pair = TokenKey.random(.ed25519)
    let verifying = try #require(TokenKeys([TokenKey.random(.hs256), pair]).publicPart)
    #expect(try TokenKeys(text: verifying.text) == verifying && verifying.keys.map(\.id) == [pair.id])
    #expect(Minting.fault(of: Minting.token(Minting.header(pair), Minting.good, pair), verifying) == nil)
    #expect(verifying.signed(TokenClaims()) == nil)
    #expect(TokenKeys.new(.hs256).publicPart == nil)
  }

  @Test func `a file of 64 digits, as any tool makes it, is a key`() throws {
    let keys = try TokenKeys(text: String(repeating: "ab", count: 32) + "\n")
    #expect(keys.keys.map(\.algorithm) == [.hs256])
    let token = try #require(keys.signed(TokenClaims()))
    #expect(Minting.fault(of: token, keys) { $0.allowsUnexpiring = true } == nil)
    // It has the same name wherever it is read, so also as a former key of a longer file.
    let rotated = try keys.rotated(.hs256, lifetimeSeconds: 60, at: Minting.now)
    #expect(Minting.fault(of: token, try TokenKeys(text: rotated.text)) { $0.allowsUnexpiring = true } == nil)
  }

  @Test(
    arguments: [
      ("", .count), ("# nothing\n\n", .count), ("a HS256", .malformed(line: 1)),
      ("a HS512 \(KeyFileTests.zeros)", .malformed(line: 1)), ("a HS256 00", .malformed(line: 1)),
      ("\na HS256 public \(KeyFileTests.zeros)", .malformed(line: 2)),
      ("a HS256 \(KeyFileTests.zeros)\na EdDSA \(KeyFileTests.zeros)", .malformed(line: 2)),
      ("a\"b HS256 \(KeyFileTests.zeros)", .malformed(line: 1)),
      ("\(KeyFileTests.zeros)0", .malformed(line: 1)), ("\(KeyFileTests.zeros) until 7", .malformed(line: 1)),
      ("a HS256 \(KeyFileTests.zeros) until", .malformed(line: 1)),
      ("a HS256 \(KeyFileTests.zeros) until -7", .malformed(line: 1)),
      ("a HS256 \(KeyFileTests.zeros) until 7 8", .malformed(line: 1)),
      ("\(String(repeating: "a", count: 65)) HS256 \(KeyFileTests.zeros)", .malformed(line: 1)),
      ((0...8).map { "k\($0) HS256 \(KeyFileTests.zeros)" }.joined(separator: "\n"), .count),
    ] as [(String, TokenKeys.Failure)])
  func `a file that is none says where`(text: String, failure: TokenKeys.Failure) {
    #expect(throws: failure) { try TokenKeys(text: text) }
  }

  @Test func `while keys are rotated tokens of the former are good, until the last of them has expired`() throws {
    let now = Minting.now
    let old = TokenKeys.new(.hs256)
    var claims = TokenClaims()
    claims.expiresAt = now + 3600
    let token = try #require(old.signed(claims))
    let rotated = try TokenKeys(text: old.rotated(.ed25519, lifetimeSeconds: 3600, at: now).text)
    #expect(rotated.keys.count == 2 && rotated.signer?.algorithm == .ed25519)
    #expect(Minting.fault(of: token, rotated) == nil)
    #expect(Minting.fault(of: token, rotated, at: now + 3600 + Limits.leewaySeconds - 1) == nil)
    // Who has stolen the former key can make tokens without end; they end with the key.
    claims.expiresAt = now + 1e9
    let stolen = try #require(old.signed(claims))
    #expect(Minting.fault(of: stolen, rotated, at: now + 3600 + Limits.rotationSlackSeconds - 1) == nil)
    #expect(Minting.fault(of: stolen, rotated, at: now + 3600 + Limits.rotationSlackSeconds) == .unknownKey)
    // A second rotation does not let the first key live for longer, and a later one drops it.
    let again = try rotated.rotated(.hs256, lifetimeSeconds: 7200, at: now + 60)
    #expect(again.keys.map(\.until) == [nil, now + 60 + 7260, now + 3660])
    #expect(try again.rotated(.hs256, lifetimeSeconds: 1, at: now + 3660).keys.count == 3)
    // Or at once, where a key was stolen.
    #expect(try again.rotated(.hs256, lifetimeSeconds: 0, at: now + 60).keys.count == 1)
  }

  @Test func `no more keys live than a file may hold`() throws {
    var keys = TokenKeys.new(.hs256)
    for _ in 1..<Limits.keysMax { keys = try keys.rotated(.hs256, lifetimeSeconds: 3600, at: Minting.now) }
    #expect(keys.keys.count == Limits.keysMax && keys.text.utf8.count < Limits.keyFileBytesMax)
    #expect(throws: TokenKeys.Failure.full(until: Minting.now + 3660)) {
      try keys.rotated(.hs256, lifetimeSeconds: 3600, at: Minting.now + 1)
    }
    #expect(try keys.rotated(.hs256, lifetimeSeconds: 3600, at: Minting.now + 3660).keys.count == 2)
  }
}
