import Basics
import Glibc
import TestSupport
import Testing

@testable import Tokens

@Suite(.timeLimit(.minutes(5))) struct AuthorityTests {
  private let folder = TemporaryFolder()
  private var path: String { folder.path + "/token.keys" }

  @Test func `what one process issues others of the same file believe`() throws {
    try TokenKeys.new(.hs256).store(path: path)
    var rules = TokenRules()
    (rules.issuer, rules.audience) = ("mill", "api")
    let one = try TokenAuthority(keysAt: path, rules: rules)
    let token = try #require(one.token(for: "ann", scopes: ["admin"], lifetimeSeconds: 60, at: Minting.now + 0.9))
    let claims = try TokenAuthority(keysAt: path, rules: rules).claims(of: token, at: Minting.now + 60)
    #expect(claims.subject == "ann" && claims.scopes == ["admin"] && claims.issuer == "mill")
    #expect(claims.issuedAt == Minting.now && claims.expiresAt == Minting.now + 60)
    #expect(throws: TokenFault.expired) { try one.claims(of: token, at: Minting.now + 90) }
  }

  @Test func `a rotation needs no restart`() throws {
    let first = TokenKeys.new(.hs256)
    try first.store(path: path)
    let told = Locked<[TokenKeys.Failure?]>([])
    let authority = try TokenAuthority(keysAt: path) { failure in told.withLock { $0.append(failure) } }
    let now = Minting.now
    let former = try #require(authority.token(for: "ann", lifetimeSeconds: 60, at: now))
    let second = try first.rotated(.ed25519, lifetimeSeconds: 60, at: now)
    try second.store(path: path)
    // Within the second in which the file is believed, a token of the new key is what makes it look.
    var claims = TokenClaims()
    claims.expiresAt = now + 60
    let new = try #require(second.signed(claims))
    #expect(throws: Never.self) { try authority.claims(of: former, at: now + 0.1) }
    #expect(told.withLock { $0.isEmpty })
    #expect(throws: Never.self) { try authority.claims(of: new, at: now + 0.1) }
    #expect(throws: Never.self) { try authority.claims(of: former, at: now + 0.1) }
    #expect(told.withLock { $0 } == [nil])
    // Otherwise it looks once a second, also if the clock was set back.
    try TokenKeys.new(.hs256).store(path: path)
    #expect(throws: Never.self) { try authority.claims(of: new, at: now + 1) }
    #expect(throws: TokenFault.unknownKey) { try authority.claims(of: new, at: now + 1.2) }
    #expect(told.withLock { $0 } == [nil, nil])
    try second.store(path: path)
    #expect(throws: Never.self) { try authority.claims(of: new, at: now - 50_000) }
  }

  @Test func `keys that cannot be read any more stay, and that is told once`() throws {
    try TokenKeys.new(.hs256).store(path: path)
    let told = Locked<[TokenKeys.Failure?]>([])
    let authority = try TokenAuthority(keysAt: path) { failure in told.withLock { $0.append(failure) } }
    let token = try #require(authority.token(for: "ann", lifetimeSeconds: 60, at: Minting.now))
    unlink(path)
    for second in 1..<5 { _ = try authority.claims(of: token, at: Minting.now + Double(second)) }
    #expect(told.withLock { $0 } == [.file(code: ENOENT)])
    let file = open(path, O_WRONLY | O_CREAT, 0o600)
    _ = write(file, "half a k", 8)
    close(file)
    for second in 5..<9 { _ = try authority.claims(of: token, at: Minting.now + Double(second)) }
    #expect(told.withLock { $0 } == [.file(code: ENOENT), .malformed(line: 1)])
    #expect(throws: TokenKeys.Failure.malformed(line: 1)) { try TokenAuthority(keysAt: path) }
  }

  @Test func `a token that was believed is asked again for its time, its key's, and whether that is still there`()
    throws
  {
    let now = Minting.now
    let first = TokenKeys.new(.hs256)
    try first.store(path: path)
    let authority = try TokenAuthority(keysAt: path)
    let token = try #require(authority.token(for: "ann", scopes: ["admin"], lifetimeSeconds: 60, at: now))
    for second in [0, 1, 89] as [Double] {
      #expect(try authority.claims(of: token, at: now + second).scopes == ["admin"])
    }
    #expect(throws: TokenFault.expired) { try authority.claims(of: token, at: now + 90) }
    #expect(throws: TokenFault.notYetValid) { try authority.claims(of: token, at: now - 31) }
    // With another signature, or a part of its own, it is another token.
    #expect(throws: TokenFault.self) { try authority.claims(of: token.dropLast(4), at: now) }
    #expect(try authority.claims(of: token, at: now).subject == "ann")
    // Its key ends, and then is not there at all.
    var claims = TokenClaims()
    claims.expiresAt = now + 10_000
    let long = try #require(first.signed(claims))
    try first.rotated(.hs256, lifetimeSeconds: 60, at: now).store(path: path)
    for second in [2, 100, 119] as [Double] { _ = try authority.claims(of: long, at: now + second) }
    #expect(throws: TokenFault.unknownKey) { try authority.claims(of: long, at: now + 121) }
    _ = try authority.claims(of: long, at: now + 100)
    try TokenKeys.new(.hs256).store(path: path)
    #expect(throws: TokenFault.unknownKey) { try authority.claims(of: long, at: now + 102) }
  }

  @Test func `however many tokens are shown, few are remembered`() throws {
    let keys = TokenKeys.new(.hs256)
    var believed = BelievedTokens()
    for number in 0..<3000 {
      believed.remember(Array("\(number)".utf8), TokenClaims(), signedBy: keys.keys[0], of: keys)
    }
    let known = (0..<3000).filter { believed.claims(of: Array("\($0)".utf8), by: keys, at: 0) != nil }
    #expect(1...Limits.rememberedTokensMax ~= known.count)
    let long = [UInt8](repeating: 1, count: Limits.rememberedTokenBytesMax + 1)
    believed.remember(long, TokenClaims(), signedBy: keys.keys[0], of: keys)
    #expect(believed.claims(of: long, by: keys, at: 0) == nil)
  }

  @Test func `without a key that signs nothing is issued`() throws {
    try #require(TokenKeys.new(.ed25519).publicPart).store(path: path)
    #expect(try TokenAuthority(keysAt: path).token(for: "ann", lifetimeSeconds: 60, at: Minting.now) == nil)
  }
}
