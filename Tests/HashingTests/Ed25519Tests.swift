import Basics
import Testing

@testable import Hashing

@Suite(.timeLimit(.minutes(5))) struct Ed25519Tests {
  @Test func `the example of RFC 8037 is signed and verified`() throws {
    // Appendix A: the key "nWGx…", and the payload "Example of Ed25519 signing".
    let seed = try #require(Base64URL.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A".utf8))
    let publicKey = try #require(Base64URL.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".utf8))
    let key = try #require(SecretKey(bytes: seed))
    #expect(Ed25519.publicKey(of: key) == publicKey)
    let message = Array("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".utf8)
    let wanted = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
    let signature = Ed25519.signature(of: message, under: key)
    #expect(String(decoding: Base64URL.encode(signature), as: UTF8.self) == wanted)
    #expect(Ed25519.isValid(signature, of: message, publicKey: publicKey))
  }

  @Test func `another message, signature or key is refused, whatever it looks like`() {
    let key = SecretKey.random()
    let (message, publicKey) = (Array("a message".utf8), Ed25519.publicKey(of: key))
    let signature = Ed25519.signature(of: message, under: key)
    #expect(!Ed25519.isValid(signature, of: message + [0], publicKey: publicKey))
    #expect(!Ed25519.isValid(signature, of: message, publicKey: Ed25519.publicKey(of: .random())))
    for wrong in [[], Array(signature.dropLast()), signature + [0], [UInt8](repeating: 0, count: 64)] {
      #expect(!Ed25519.isValid(wrong, of: message, publicKey: publicKey))
    }
    for wrong in [[], Array(publicKey.dropLast()), publicKey + [0]] {
      #expect(!Ed25519.isValid(signature, of: message, publicKey: wrong))
    }
    // The group's order added to the second half: the same signature to whoever does not look (RFC 8032 §5.1.7).
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010"
    var (malleable, carry) = (signature, 0)
    for (index, byte) in (Hex.decode(order.utf8) ?? []).enumerated() {
      carry += Int(signature[32 + index]) + Int(byte)
      malleable[32 + index] = UInt8(carry & 0xFF)
      carry >>= 8
    }
    #expect(!Ed25519.isValid(malleable, of: message, publicKey: publicKey))
  }
}
