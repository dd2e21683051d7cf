import Basics
import Hashing
import Testing

@testable import Tokens

@Suite(.timeLimit(.minutes(5))) struct TokenTests {
  @Test(arguments: TokenAlgorithm.allCases)
  func `what is issued is believed, and says what it was made to say`(algorithm: TokenAlgorithm) throws {
    let keys = TokenKeys.new(algorithm)
    var claims = TokenClaims()
    (claims.subject, claims.scopes) = ("ann \"b\"", ["admin", "tasks"])
    (claims.issuer, claims.audience) = ("millrace", ["a", "b"])
    (claims.issuedAt, claims.notBefore, claims.expiresAt) = (Minting.now, Minting.now - 5, Minting.now + 60)
    let token = try #require(keys.signed(claims))
    var rules = TokenRules()
    (rules.issuer, rules.audience) = ("millrace", "b")
    #expect(try TokenVerifier(keys: keys, rules: rules).claims(of: token, at: Minting.now).claims == claims)
  }

  @Test func `the example of RFC 7515 is what HMAC makes of its key`() throws {
    // Appendix A.1 has a key of 64 bytes, a file of ours one of 32; RFC 4231, test case 2, has a short one, which HMAC
    // fills up with zeros.
    let key = try #require(SecretKey(bytes: Array("Jefe".utf8) + [UInt8](repeating: 0, count: 28)))
    let code = TokenKey(key, .hs256).signature(of: Array("what do ya want for nothing?".utf8))
    #expect(code == Hex.decode("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843".utf8))
  }

  /// A payload, and what comes of it.
  @Test(
    arguments: [
      (#"{"exp":1800000001}"#, nil), (#"{"exp":1799999971}"#, nil), (#"{"exp":1799999970}"#, .expired),
      (#"{"exp":1.8e9}"#, nil), (#"{"exp":0}"#, .expired), (#"{"exp":-1}"#, .expired), (#"{}"#, .unexpiring),
      (#"{"exp":"1800000060"}"#, .malformed), (#"{"exp":null}"#, .malformed), (#"{"exp":1e999}"#, .malformed),
      (#"{"exp":1800000060,"exp":1800000060}"#, .malformed), (#"{"exp":1800000060,"\u0065xp":1}"#, .malformed),
      (#"{"exp":1800000060,"scope":"a","scope":"admin"}"#, .malformed),
      (#"{"exp":1800000060,"nbf":1800000030}"#, nil), (#"{"exp":1800000060,"nbf":1800000031}"#, .notYetValid),
      (#"{"exp":1800000060,"iat":1800000030}"#, nil), (#"{"exp":1800000060,"iat":1800000031}"#, .notYetValid),
      (#"{"exp":1800000060,"sub":7}"#, .malformed), (#"{"exp":1800000060,"aud":[1]}"#, .malformed),
      (#"{"exp":1800000060,"scope":["admin"]}"#, .malformed), (#"[{"exp":1800000060}]"#, .malformed),
      (#"{"exp":1800000060}x"#, .malformed), ("", .malformed), (#"{"exp":1800000060,"other":{"deep":[1,2,{}]}}"#, nil),
    ] as [(String, TokenFault?)])
  func `times and claims are read strictly`(payload: String, fault: TokenFault?) {
    let key = TokenKey.random(.hs256)
    #expect(Minting.fault(of: Minting.token(Minting.header(key), payload, key), TokenKeys([key])) == fault)
  }

  @Test func `who made it and for whom it is has to be right where that is asked`() {
    let key = TokenKey.random(.hs256)
    func fault(_ more: String, _ change: (inout TokenRules) -> Void) -> TokenFault? {
      let token = Minting.token(Minting.header(key), #"{"exp":1800000060\#(more)}"#, key)
      return Minting.fault(of: token, TokenKeys([key]), change)
    }
    #expect(fault("") { $0.issuer = "millrace" } == .wrongIssuer)
    #expect(fault(#","iss":"other""#) { $0.issuer = "millrace" } == .wrongIssuer)
    #expect(fault(#","iss":"millrace""#) { $0.issuer = "millrace" } == nil)
    #expect(fault("") { $0.audience = "api" } == .wrongAudience)
    #expect(fault(#","aud":"apis""#) { $0.audience = "api" } == .wrongAudience)
    #expect(fault(#","aud":["x","api"]"#) { $0.audience = "api" } == nil)
    let endless = Minting.token(Minting.header(key), "{}", key)
    #expect(Minting.fault(of: endless, TokenKeys([key])) { $0.allowsUnexpiring = true } == nil)
  }

  @Test func `a key is found by its name, or is the only one that lives`() {
    let (first, second) = (TokenKey.random(.hs256), TokenKey.random(.hs256))
    let nameless = Minting.token(#"{"alg":"HS256"}"#, Minting.good, first)
    #expect(Minting.fault(of: nameless, TokenKeys([first])) == nil)
    #expect(Minting.fault(of: nameless, TokenKeys([first, second])) == .unknownKey)
    var former = second
    former.until = Minting.now
    #expect(Minting.fault(of: nameless, TokenKeys([first, former])) == nil)
    let named = Minting.token(Minting.header(second), Minting.good, second)
    #expect(Minting.fault(of: named, TokenKeys([first, second])) == nil)
    #expect(Minting.fault(of: named, TokenKeys([first])) == .unknownKey)
    #expect(Minting.fault(of: named, TokenKeys([first, former])) == .unknownKey)
  }
}
