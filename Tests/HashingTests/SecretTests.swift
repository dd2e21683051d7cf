import Basics
import Glibc
@testable import Hashing
import TestSupport
import Testing

private let key = SecretKey(bytes: Array(0..<32))!

@Suite(.timeLimit(.minutes(5))) struct SecretTests {
  @Test func hmacGivesAKnownAnswer() {
    let message = Array("purpose".utf8)
    let codes = HMACSHA256(key)
    // Also the second time: nothing of a message is left for the next.
    for _ in 0..<2 {
      #expect(
        String(decoding: codes.code(of: message).hex, as: UTF8.self)
          == "ad43d8b7d1908a5b1567908f65764f17e3effcf8308b75fb3a45a86684356771")
      _ = codes.code(of: [])
    }
  }

  @Test func aKeyNeverShowsItself() {
    var dumped = ""
    dump(key, to: &dumped)
    for shown in ["\(key)", String(reflecting: key), String(describing: [key]), dumped] {
      #expect(shown.contains("<secret>"))
      #expect(!shown.contains("0, 1, 2") && !shown.contains("31"))
    }
  }

  @Test func purposesGetKeysOfTheirOwn() {
    let message = Array("m".utf8)
    let codes = [key, key.derived(for: "a"), key.derived(for: "b")].map { HMACSHA256($0).code(of: message) }
    #expect(Set(codes).count == 3)
    #expect(HMACSHA256(key.derived(for: "a")).code(of: message) == codes[1])
  }

  @Test func aKeyFileIsMadeOnceForItsOwnerAlone() throws {
    let folder = TemporaryFolder()
    defer { withExtendedLifetime(folder) {} }
    let path = folder.path + "/secret.key"
    #expect(throws: HashingError.keyFile(code: ENOENT)) { try SecretKey.load(path: path) }
    // A process of this very number was killed here while it made a key.
    close(open("\(path).\(getpid())", O_WRONLY | O_CREAT, 0o600))
    let made = try SecretKey.loadOrCreate(path: path)
    let again = try SecretKey.loadOrCreate(path: path)
    let message = Array("m".utf8)
    #expect(HMACSHA256(made).code(of: message) == HMACSHA256(again).code(of: message))
    var status = stat()
    #expect(stat(path, &status) == 0)
    #expect(status.st_mode & 0o777 == 0o600)
    #expect(throws: HashingError.malformedKey) { try SecretKey(hex: Array("abc".utf8)) }
  }
}

@Suite(.timeLimit(.minutes(5))) struct SealerTests {
  private let sealer = Sealer(key: key)

  @Test func opensWhatAnotherImplementationSealed() throws {
    // Made with an independent AES-GCM: key 00…1f, nonce 00…0b, associated data 01 "ctx".
    let sealed = Hex.decode(
      Array("01000102030405060708090a0b2f67ba77aa6c72eaafe46e8beebc6a4339bf84aa83".utf8))!
    #expect(try sealer.open(sealed, context: Array("ctx".utf8)) == Array("hello".utf8))
  }

  @Test func opensWhatItSealedAtEverySize() throws {
    for size in [0, 1, 15, 16, 17, 1000, 1_000_000] {
      let plain = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
      let sealed = sealer.seal(plain, context: [7])
      #expect(sealed.count == size + Sealer.overheadBytes)
      #expect(try sealer.open(sealed, context: [7]) == plain)
    }
  }

  @Test func refusesEveryChangedBitAndEveryCut() {
    let sealed = sealer.seal(Array("attack at dawn".utf8), context: [1, 2])
    for index in sealed.indices {
      for bit in 0..<8 {
        var changed = sealed
        changed[index] ^= 1 << bit
        #expect(throws: HashingError.notAuthentic) { try sealer.open(changed, context: [1, 2]) }
      }
      #expect(throws: HashingError.notAuthentic) { try sealer.open(Array(sealed[..<index]), context: [1, 2]) }
    }
    #expect(throws: HashingError.notAuthentic) { try sealer.open(sealed, context: [1]) }
    let other = Sealer(key: key.derived(for: "other"))
    #expect(throws: HashingError.notAuthentic) { try other.open(sealed, context: [1, 2]) }
  }

  @Test func sealsTheSameTextDifferentlyEachTime() {
    #expect(Set((0..<1000).map { _ in sealer.seal([1, 2, 3], context: []) }).count == 1000)
  }
}
