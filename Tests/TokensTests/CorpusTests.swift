import Basics
import Hashing
import Testing

@testable import Tokens

/// Tokens that must not be believed, and why they are not.
@Suite(.timeLimit(.minutes(5))) struct CorpusTests {
  private let shared = TokenKey.random(.hs256)
  private let pair = TokenKey.random(.ed25519)
  private var keys: TokenKeys { TokenKeys([shared, pair]) }

  @Test func `the algorithm is the key's, whatever a token says`() throws {
    #expect(Minting.fault(of: Minting.token(Minting.header(shared), Minting.good, shared), keys) == nil)
    #expect(Minting.fault(of: Minting.token(Minting.header(pair), Minting.good, pair), keys) == nil)
    // The classic: the public key of the one taken for the shared secret of the other.
    guard case .secret(let secret) = pair.material else { return }
    let stolen = try #require(SecretKey(bytes: Ed25519.publicKey(of: secret)))
    let confused = TokenKey(id: pair.id, algorithm: .hs256, material: .secret(stolen))
    #expect(Minting.fault(of: Minting.token(Minting.header(confused), Minting.good, confused), keys) == .wrongAlgorithm)
    #expect(
      Minting.fault(of: Minting.token(Minting.header(pair), Minting.good, confused), keys) == .badSignature)
    for algorithm in ["none", "None", "NONE", "nOnE", "HS512", "hs256", "RS256", "", "EdDSA "] {
      let token = Minting.token(#"{"alg":"\#(algorithm)","kid":"\#(shared.id)"}"#, Minting.good, shared)
      #expect(Minting.fault(of: token, keys) == .wrongAlgorithm, "\(algorithm)")
      let unsigned = token.split(separator: 0x2E)[..<2].joined(separator: [0x2E]) + [0x2E]
      #expect(Minting.fault(of: Array(unsigned), keys) == .wrongAlgorithm, "\(algorithm)")
    }
  }

  /// A header in which `K` stands for the key's name, signed by the right key.
  @Test(
    arguments: [
      (#"{"alg":"HS256"}"#, .unknownKey), (#"{"kid":"K"}"#, .wrongAlgorithm), (#"{}"#, .unknownKey),
      (#"{"alg":"HS256","kid":"k"}"#, .unknownKey), (#"{"alg":"HS256","kid":""}"#, .unknownKey),
      (#"{"alg":"HS256","kid":"../../dev/null"}"#, .unknownKey), (#"{"alg":"HS256","kid":7}"#, .malformed),
      (#"{"alg":"HS256","kid":null}"#, .malformed), (#"{"alg":"HS256","alg":"none","kid":"K"}"#, .malformed),
      (#"{"alg":"none","\u0061lg":"HS256","kid":"K"}"#, .malformed), (#"{"alg":["HS256"],"kid":"K"}"#, .malformed),
      (#"{"alg":"HS256","kid":"K","crit":["exp"],"exp":1}"#, .critical),
      (#"{"alg":"HS256","kid":"K","crit":[]}"#, .critical),
      (#"{"alg":"HS256","kid":"K","jwk":{"kty":"oct","k":"AA"},"jku":"http://x/","x5u":"http://x/"}"#, nil),
      (#"[]"#, .malformed), ("", .malformed), ("HS256", .malformed),
    ] as [(String, TokenFault?)])
  func `a header is read strictly, and brings no key along`(header: String, fault: TokenFault?) {
    let token = Minting.token(header.replacing("K", with: shared.id), Minting.good, shared)
    #expect(Minting.fault(of: token, keys) == fault)
  }

  @Test func `what is no token is refused as such`() {
    let text = String(decoding: Minting.token(Minting.header(shared), Minting.good, shared), as: UTF8.self)
    let parts = text.split(separator: ".").map(String.init)
    for wrong in [
      "", ".", "..", "...", parts[0], "\(parts[0]).\(parts[1])", "\(text).", ".\(text)", "\(text)=", " \(text)",
      "\(text)\n", "\(parts[0])=.\(parts[1]).\(parts[2])", "\(parts[0]).\(parts[1])..\(parts[2])",
      "\(parts[0]).\(parts[1]).\(parts[2]).\(parts[2])", "\(parts[0]).\(parts[1])+.\(parts[2])", "Basic YTpi",
    ] {
      #expect(Minting.fault(of: Array(wrong.utf8), keys) == .malformed, "\(wrong)")
    }
    #expect(Minting.fault(of: Array("\(parts[0]).\(parts[1]).".utf8), keys) == .badSignature)
    #expect(Minting.fault(of: Array("\(parts[0]).\(parts[1]).AAAA".utf8), keys) == .badSignature)
  }

  @Test(arguments: TokenAlgorithm.allCases)
  func `every bit counts: nothing that was changed is believed`(algorithm: TokenAlgorithm) {
    let key = algorithm == .hs256 ? shared : pair
    let good = Minting.token(Minting.header(key), Minting.good, key)
    #expect(Minting.fault(of: good, keys) == nil)
    for index in good.indices {
      for bit in 0..<8 {
        var changed = good
        changed[index] ^= 1 << bit
        #expect(Minting.fault(of: changed, keys) != nil, "byte \(index), bit \(bit)")
      }
    }
    for count in good.indices { #expect(Minting.fault(of: Array(good[..<count]), keys) != nil, "\(count) bytes") }
  }

  @Test func `a token has at most 8 KiB, and one that is longer is not looked at`() {
    func token(of bytes: Int) -> [UInt8] {
      var padding = 0
      while true {
        let payload = #"{"exp":1800000060,"x":"\#(String(repeating: "x", count: padding))"}"#
        let token = Minting.token(Minting.header(shared), payload, shared)
        if token.count >= bytes { return token }
        padding += max(1, (bytes - token.count) * 3 / 4)
      }
    }
    let largest = token(of: Limits.tokenBytesMax)
    #expect(largest.count - Limits.tokenBytesMax <= 1)
    #expect(Minting.fault(of: token(of: Limits.tokenBytesMax - 4), keys) == nil)
    #expect(Minting.fault(of: token(of: Limits.tokenBytesMax + 1), keys) == .malformed)
    #expect(Minting.fault(of: [UInt8](repeating: UInt8(ascii: "."), count: 1 << 20), keys) == .malformed)
  }

  @Test func `however a token is bent, it is not believed, and nothing traps`() {
    var random = SeededRandom(seed: 9)
    let good = Minting.token(Minting.header(shared), #"{"exp":1800000060,"aud":["a","b"],"scope":"admin"}"#, shared)
    for _ in 0..<5000 {
      var bent = good
      for _ in 0...Int(random.next() % 4) {
        let place = Int(random.next() % UInt64(bent.count))
        switch random.next() % 4 {
        case 0: bent.insert(UInt8(truncatingIfNeeded: random.next()), at: place)
        case 1: bent.remove(at: place)
        case 2: bent.append(contentsOf: bent[place...].prefix(40))
        default: bent.swapAt(place, Int(random.next() % UInt64(bent.count)))
        }
      }
      if bent != good { #expect(Minting.fault(of: bent, keys) != nil, "\(String(decoding: bent, as: UTF8.self))") }
      // What is behind the signature has to bear anything as well: who has a key may make mistakes.
      var payload = Array(#"{"exp":1800000060,"nbf":1.5e0,"aud":["a","b"],"scope":"admin x"}"#.utf8)
      payload[Int(random.next() % UInt64(payload.count))] = UInt8(truncatingIfNeeded: random.next())
      let message = Base64URL.encode(Minting.header(shared).utf8) + [0x2E] + Base64URL.encode(payload)
      _ = Minting.fault(of: message + [0x2E] + Base64URL.encode(shared.signature(of: message) ?? []), keys)
    }
  }

  @Test func `nothing that a token says is told before its signature is right`() {
    let stranger = TokenKey(id: shared.id, algorithm: .hs256, material: .secret(.random()))
    for payload in ["{}", "x", #"{"exp":0}"#, #"{"exp":1800000060,"nbf":9e9}"#] {
      #expect(Minting.fault(of: Minting.token(Minting.header(shared), payload, stranger), keys) == .badSignature)
    }
  }
}
