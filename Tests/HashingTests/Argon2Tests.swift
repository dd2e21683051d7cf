import Basics
import CArgon2
import Testing

@testable import Hashing

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
private let cheap = Argon2Parameters(passes: 1, memoryKiB: 64, parallelism: 1)

/// Whether libargon2 finds that `encoded` was made from `password`.
private func verifies(_ password: String, _ encoded: [UInt8]) -> Bool {
  argon2_verify(encoded.map { CChar(bitPattern: $0) } + [0], password, password.utf8.count, Argon2_id)
    == ARGON2_OK.rawValue
}

@Suite(.timeLimit(.minutes(5))) struct Argon2Tests {
  @Test func givesTheReferenceVector() throws {
    // From the test program of the reference implementation, argon2id version 19.
    let encoded = try Argon2.hash(
      bytes("password"), salt: bytes("somesalt"),
      parameters: Argon2Parameters(passes: 2, memoryKiB: 65_536, parallelism: 1))
    #expect(
      String(decoding: encoded, as: UTF8.self)
        == "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
  }

  @Test func hashesAreSaltedAndVerify() throws {
    let first = try Argon2.hash(bytes("s3cret"), parameters: cheap)
    let second = try Argon2.hash(bytes("s3cret"), parameters: cheap)
    #expect(first != second)
    #expect(String(decoding: first, as: UTF8.self).hasPrefix("$argon2id$v=19$m=64,t=1,p=1$"))
    #expect(verifies("s3cret", first) && verifies("s3cret", second))
    #expect(!verifies("", first) && !verifies("S3cret", first))
  }

  @Test func aRecordMatchesThePasswordThatItWasMadeOfAndIsReadStrictly() throws {
    let text = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$"
    let made = String(
      decoding: try Argon2.hash(bytes("s3cret"), salt: bytes("somesalt"), parameters: cheap), as: UTF8.self)
    #expect(made.hasPrefix(text))
    let record = try #require(Argon2Record(bytes(made)))
    #expect(record.parameters == cheap)
    #expect(try record.matches(bytes("s3cret")))
    for wrong in ["", "S3cret", "s3cret "] { #expect(try !record.matches(bytes(wrong))) }
    let hash = made.dropFirst(text.count)
    for bent in [
      "", "$", made + "$", made + "=", String(made.dropLast(30)), made.replacing("id", with: "i"), " " + made,
      made.replacing("v=19", with: "v=16"), made.replacing("m=64", with: "m=064"), made.replacing("m=64", with: "m=7"),
      made.replacing("m=64", with: "m=262145"), made.replacing("t=1", with: "t=0"), made.replacing("t=1", with: "t=33"),
      made.replacing("p=1", with: "p=9"), made.replacing("m=64,t=1", with: "t=1,m=64"),
      made.replacing("p=1", with: "p=1,keyid=1"), made.replacing("c29tZXNhbHQ", with: "c29tZXNhbHR"),
      made.replacing("c29tZXNhbHQ", with: "c29t"), made.replacing("c29tZXNhbHQ", with: "c29t-XNhbHQ"),
      text + hash + String(repeating: "A", count: 200),
    ] { #expect(Argon2Record(bytes(bent)) == nil, "\(bent)") }
  }

  @Test func parametersThatTheAlgorithmForbidsAreRefused() {
    for parameters in [
      Argon2Parameters(passes: 0), Argon2Parameters(memoryKiB: 15, parallelism: 2), Argon2Parameters(parallelism: 0),
    ] {
      #expect(throws: HashingError.invalidParameters) { try Argon2.hash([1], parameters: parameters) }
    }
  }
}

@Suite(.timeLimit(.minutes(5))) struct MemoryBudgetTests {
  @Test func parallelWorkNeverExceedsTheBudgetAndKeepsItsOrder() {
    for seed in 0..<2000 {
      var random = SeededRandom(seed: UInt64(seed))
      var budget = MemoryBudget<Int>(bytesMax: 100)
      var sizes: [Int: Int] = [:]
      var running: [Int] = []
      var queued: [Int] = []
      for id in 0..<60 {
        if Bool.random(using: &random) || running.isEmpty {
          let size = Int.random(in: 0...110, using: &random)
          sizes[id] = size
          switch budget.request(size) {
          case .granted: running.append(id)
          case .mustWait:
            budget.wait(id, for: size)
            queued.append(id)
          case .tooLarge: #expect(size > 100)
          case .refused: Issue.record("a short queue refused")
          }
        } else {
          let done = running.remove(at: Int.random(in: 0..<running.count, using: &random))
          budget.release(sizes[done]!) { next in
            #expect(queued.removeFirst() == next)
            running.append(next)
          }
        }
        let used = running.reduce(0) { $0 + sizes[$1]! }
        #expect(budget.bytesUsed == used)
        #expect(used <= 100)
        if let head = queued.first { #expect(used + sizes[head]! > 100) }
      }
      while let done = running.popLast() {
        budget.release(sizes[done]!) { running.append($0) }
      }
      #expect(budget.bytesUsed == 0)
    }
  }

  @Test func theQueueIsBounded() {
    var budget = MemoryBudget<Int>(bytesMax: 1)
    #expect(budget.request(1) == .granted)
    for id in 0..<Limits.budgetWaitersMax {
      #expect(budget.request(1) == .mustWait)
      budget.wait(id, for: 1)
    }
    #expect(budget.request(1) == .refused)
    #expect(budget.request(2) == .tooLarge)
  }
}
