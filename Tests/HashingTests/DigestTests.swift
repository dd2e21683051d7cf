import Glibc
import Hashing
import Testing

private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

@Suite(.timeLimit(.minutes(5))) struct DigestTests {
  @Test(arguments: [
    ("", "d41d8cd98f00b204e9800998ecf8427e"),
    ("hello world", "5eb63bbbe01eeed093cb22bb8f5acdc3"),
    ("grüße 🌊", "3d3ff574b2a6456eb15dc0b8bfe99f09"),
    (String(repeating: "a", count: 1_000_000), "7707d6ae4e027c70eea2a935c2296f21"),
  ])
  func md5GivesKnownAnswers(input: String, digest: String) {
    #expect(text(MD5.digest(of: Array(input.utf8)).hex) == digest)
  }

  @Test(arguments: [
    ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ("grüße 🌊", "506b8aa46658890fbac8fbce9fcb1101c85c61909aaf47c0d8c8a1922c363d0d"),
    (String(repeating: "a", count: 1_000_000), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
  ])
  func sha256GivesKnownAnswers(input: String, digest: String) {
    #expect(text(SHA256.digest(of: Array(input.utf8)).hex) == digest)
  }

  @Test func digestsComeBackFromTheirBytesAndDifferInEveryByte() throws {
    let digest = SHA256.digest(of: Array("abc".utf8))
    #expect(Digest256(digest.bytes) == digest)
    #expect(Digest256(Array(digest.bytes.dropLast())) == nil)
    #expect(digest.ringPosition == 0xBA78_16BF_8F01_CFEA)
    for index in 0..<32 {
      var bytes = digest.bytes
      bytes[index] ^= 1
      #expect(Digest256(bytes) != digest)
    }
  }

  @Test func digestsOfManyThreadsDoNotMix() async {
    let expected = (0..<64).map { SHA256.digest(of: [UInt8](repeating: UInt8($0), count: 1000)) }
    await withTaskGroup(of: Bool.self) { group in
      for seed in 0..<64 {
        group.addTask {
          (0..<200).allSatisfy { _ in
            SHA256.digest(of: [UInt8](repeating: UInt8(seed), count: 1000)) == expected[seed]
          }
        }
      }
      for await same in group { #expect(same) }
    }
  }
}
