import Basics
import Hashing
import Testing

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
private let cheap = Argon2Parameters(passes: 1, memoryKiB: 64, parallelism: 1)
private let salt = "c29tc2FsdHNvbWVzYWx0"
private let output = "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

@Suite struct Argon2Tests {
  @Test func verifiesTheReferenceVector() throws {
    // From the test program of the reference implementation, argon2id version 19.
    let encoded = bytes("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$\(output)")
    #expect(try Argon2.verify(bytes("password"), against: encoded))
    #expect(try !Argon2.verify(bytes("Password"), against: encoded))
  }

  @Test func hashesAreSaltedAndVerify() throws {
    let first = try Argon2.hash(bytes("s3cret"), parameters: cheap)
    let second = try Argon2.hash(bytes("s3cret"), parameters: cheap)
    #expect(first != second)
    #expect(String(decoding: first, as: UTF8.self).hasPrefix("$argon2id$v=19$m=64,t=1,p=1$"))
    #expect(try Argon2.parameters(of: first) == cheap)
    #expect(try Argon2.verify(bytes("s3cret"), against: first))
    #expect(try Argon2.verify(bytes("s3cret"), against: second))
    #expect(try !Argon2.verify([], against: first))
  }

  @Test(arguments: [
    "m=4294967295,t=1,p=1", "m=99999999999999999999,t=1,p=1", "m=262145,t=1,p=1", "m=64,t=33,p=1",
    "m=64,t=0,p=1", "m=64,t=1,p=0", "m=1024,t=1,p=17", "m=15,t=1,p=2",
  ])
  func costsPastTheBoundsAreRefusedUnpaid(costs: String) {
    #expect(throws: HashingError.parametersOutOfBounds) {
      try Argon2.verify(bytes("x"), against: bytes("$argon2id$v=19$\(costs)$\(salt)$\(output)"))
    }
  }

  @Test(arguments: [
    "", "$", "plain", "$argon2i$v=19$m=64,t=1,p=1$\(salt)$\(output)", "$argon2id$v=16$m=64,t=1,p=1$\(salt)$\(output)",
    "$argon2id$v=19$t=1,m=64,p=1$\(salt)$\(output)", "$argon2id$v=19$m=064,t=1,p=1$\(salt)$\(output)",
    "$argon2id$v=19$m=+64,t=1,p=1$\(salt)$\(output)", "$argon2id$v=19$m=64,t=1,p=1,x=1$\(salt)$\(output)",
    "$argon2id$v=19$m=64,t=1,p=1$\(salt)$\(output)$", "$argon2id$v=19$m=64,t=1,p=1$!$\(output)",
    "$argon2id$v=19$m=64,t=1,p=1$\(salt)$\(output)\0", "$argon2id$m=64,t=1,p=1$\(salt)$\(output)",
    "$argon2id$v=19$m=,t=1,p=1$\(salt)$\(output)", "$argon2id$v=19$m=64,t=1,p=1$\(salt)$AAAAA",
  ])
  func whatIsNoArgon2idStringIsRefused(encoded: String) {
    #expect(throws: HashingError.malformedHash) { try Argon2.verify(bytes("x"), against: bytes(encoded)) }
  }

  @Test func randomDamageIsRefusedOrMismatchedNeverObeyed() throws {
    let encoded = try Argon2.hash(bytes("x"), parameters: cheap)
    for seed in 0..<2000 {
      var random = SeededRandom(seed: UInt64(seed))
      var damaged = encoded
      damaged[Int.random(in: 0..<damaged.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
      guard damaged != encoded else { continue }
      guard let parameters = try? Argon2.parameters(of: damaged) else { continue }
      #expect(parameters.isValid)
      // The last digit of an encoding can carry bits that mean nothing; every other damage must show.
      if parameters == cheap, damaged.dropLast() != encoded.dropLast(), damaged.last == encoded.last {
        #expect((try? Argon2.verify(bytes("x"), against: damaged)) != true)
      }
    }
  }

  @Test func parametersThatTheAlgorithmForbidsAreRefused() {
    for parameters in [
      Argon2Parameters(passes: 0), Argon2Parameters(memoryKiB: 15, parallelism: 2), Argon2Parameters(parallelism: 0),
    ] {
      #expect(throws: HashingError.invalidParameters) { try Argon2.hash([1], parameters: parameters) }
    }
  }
}

@Suite struct MemoryBudgetTests {
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
          switch budget.request(size, for: id) {
          case .granted: running.append(id)
          case .queued: queued.append(id)
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
      #expect(budget.waitingCount == 0)
      #expect(budget.bytesUsed == 0)
    }
  }

  @Test func theQueueIsBounded() {
    var budget = MemoryBudget<Int>(bytesMax: 1)
    #expect(budget.request(1, for: 0) == .granted)
    for id in 0..<Limits.budgetWaitersMax { #expect(budget.request(1, for: id) == .queued) }
    #expect(budget.request(1, for: -1) == .refused)
    #expect(budget.request(2, for: -1) == .tooLarge)
  }
}
