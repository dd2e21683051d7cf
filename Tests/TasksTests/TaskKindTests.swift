import Basics
import Hashing
import Reactor
import Tasks
import Telemetry
import TestSupport
import Testing

private let pool = try! ComputePool(width: 1)
private let quiet = Logger(sink: LogSink(fd: 2), subsystem: "test", level: .error)

private func context(
  deadline: MonotonicTime = .never, cancelled: @escaping () -> Bool = { false },
  progressed: @escaping (Double) -> Void = { _ in }
) -> TaskContext {
  TaskContext(
    id: 1, attempt: 1, deadline: deadline, log: quiet,
    parameters: TaskParameters(argon2: Argon2Parameters(passes: 1, memoryKiB: 64, parallelism: 1)), pool: pool,
    cancelled: cancelled, progressed: progressed)
}

private let bulky = TaskLine(99, .bulky)

/// A kind that waits between its steps: all that a long task needs is such a file.
private let stepping = TaskKind(
  name: "stepping", displayName: "Stepping", isSecret: false, isShared: false, lines: [bulky], line: { _ in bulky },
  work: .waiting({ (input, context, reactor) async throws(TaskFault) in
    for step in 1...4 {
      try context.check(on: reactor)
      await reactor.sleep(for: .milliseconds(1))
      context.report(progress: Double(step) / 2)
    }
    return try await context.compute({ () throws(TaskFault) in Array(input.reversed()) }, on: reactor)
  }))

@Suite(.timeLimit(.minutes(5))) struct TaskKindTests {
  @Test func `a result fits its own input and kind and no other, however it is bent`() async throws {
    let long = [UInt8](repeating: 0x78, count: Limits.bulkyBytes)
    for (kind, other) in [(TaskKind.md5, TaskKind.sha256), (.sha256, .md5)] {
      for input in [Array("a \"quoted\" word".utf8), [], long] {
        let result = try await onReactor { reactor in try await kind.run(input, context(), on: reactor) }
        #expect(kind.fits(result, input))
        #expect(!kind.fits(result, input + [0x78]) && !other.fits(result, input))
        let text = String(decoding: result, as: UTF8.self)
        for bent in [
          "", "null", "[]", String(text.dropLast()), text + "x", text.replacing("_hash\":\"", with: "_hash\":\"z"),
          text.replacing("original_string", with: "original"), text.replacing("}", with: ",\"more\":1}"),
          text.replacing("_hash\":\"", with: "_hash\":\"\",\"x\":\""),
        ] { #expect(!kind.fits(Array(bent.utf8), input), "\(bent.prefix(100))") }
      }
    }
  }

  @Test func `names, groups and classes are each there once`() {
    #expect(Set(TaskKind.all.map(\.name)).count == TaskKind.all.count)
    #expect(TaskKind.all.allSatisfy { TaskKind.named($0.name)?.displayName == $0.displayName })
    #expect(TaskKind.named("nonsense") == nil)
    #expect(Set(SlotClass.all.map(\.group)).count == SlotClass.all.count)
    let lines = TaskKind.all.flatMap(\.lines)
    #expect(Set(lines.map(\.number)).count == lines.count)
    for kind in TaskKind.all {
      for bytes in [0, Limits.bulkyBytes, 1 << 20] { #expect(kind.lines.contains(kind.line(bytes))) }
    }
    #expect(lines.allSatisfy { TaskKind.lines(of: $0.slots).contains($0.number) })
    let (small, large) = (TaskKind.md5.line(Limits.bulkyBytes - 1), TaskKind.md5.line(Limits.bulkyBytes))
    #expect(small.slots == .quick && large.slots == .bulky)
  }

  @Test func `a hash is shown with its input, that of a secret without`() async throws {
    try await onReactor { reactor in
      let shown = try await TaskKind.md5.run(Array("a\"b".utf8), context(), on: reactor)
      let text = String(decoding: shown, as: UTF8.self)
      #expect(text.hasPrefix(#"{"original_string":"a\"b","md5_hash":"#))
      #expect(text.contains(String(decoding: MD5.digest(of: Array("a\"b".utf8)).hex, as: UTF8.self)))
      let hidden = try await TaskKind.argon2.run(Array("horse".utf8), context(), on: reactor)
      let secret = String(decoding: hidden, as: UTF8.self)
      #expect(secret.hasPrefix(#"{"argon2_hash":"$argon2id$v=19$"#) && !secret.contains("horse"))
    }
  }

  @Test func `a task that waits reports, and ends when it is cancelled or its time is over`() async throws {
    try await onReactor { reactor in
      var shares: [Double] = []
      let done = try await stepping.run([1, 2], context(progressed: { shares.append($0) }), on: reactor)
      #expect(done == [2, 1] && shares == [0.5, 1, 1, 1])
      var looks = 0
      let cancelled = context(cancelled: {
        looks += 1
        return looks > 2
      })
      for context in [cancelled, context(deadline: reactor.now + .milliseconds(2))] {
        do throws(TaskFault) {
          _ = try await stepping.run([1], context, on: reactor)
          Issue.record("it went on")
        } catch {
          #expect(!error.isFinal)
        }
      }
    }
  }

  @Test func `a secret payload is sealed for its kind alone, another one is the input`() throws {
    let sealer = Sealer(key: SecretKey.random())
    let input = Array("horse".utf8)
    #expect(TaskKind.md5.payload(of: input, sealedBy: sealer) == input)
    let sealed = TaskKind.argon2.payload(of: input, sealedBy: sealer)
    #expect(sealed != input)
    #expect(try TaskKind.argon2.input(of: sealed, sealedBy: sealer) == input)
    #expect(throws: TaskFault.self) {
      try TaskKind.argon2.input(of: sealed, sealedBy: Sealer(key: SecretKey.random()))
    }
  }

  @Test func `what identifies a task follows from kind and input, and its key also from the secret`() throws {
    let (one, other) = (HMACSHA256(SecretKey.random()), HMACSHA256(SecretKey.random()))
    let input = Array("hello world".utf8)
    let identity = try #require(TaskIdentity(.md5, input))
    #expect(identity == TaskIdentity(.md5, input) && identity != TaskIdentity(.sha256, input))
    #expect(TaskIdentity(.argon2, input) == nil)
    #expect(
      String(decoding: identity.redisKey, as: UTF8.self)
        == "millrace:hash:md5:b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9")
    #expect(identity.key(under: one) == identity.key(under: one))
    #expect(identity.key(under: one) != identity.key(under: other))
    let namesake = try #require(TaskIdentity(.sha256, input))
    #expect(identity.key(under: one) != namesake.key(under: one))
  }

  @Test func `ids are read from a message as they were put into it`() {
    #expect(RedisNames.ids(in: RedisNames.message(of: [1, 22, 333])) == [1, 22, 333])
    #expect(RedisNames.ids(in: Array("x,5,,".utf8)) == [5] && RedisNames.ids(in: []) == [])
  }
}
