import Basics
import Testing

@Suite(.timeLimit(.minutes(5))) struct SecretBytesTests {
  @Test func `secrets are equal if every byte is`() {
    let secret = Array("correct horse".utf8)
    #expect(SecretBytes.areEqual(secret[...], secret))
    for index in secret.indices {
      var other = secret
      other[index] ^= 0x80
      #expect(!SecretBytes.areEqual(other, secret))
    }
    #expect(!SecretBytes.areEqual(secret.dropLast(), secret) && !SecretBytes.areEqual(secret + [0], secret))
    #expect(!SecretBytes.areEqual([], secret))
  }
}
