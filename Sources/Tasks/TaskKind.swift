public import Basics
public import Hashing
public import Reactor

/// A kind of task: all that there is to know to offer it, queue it, run it, and show and cache its result.
public struct TaskKind: Sendable {
  /// How a task is run.
  public enum Work: Sendable {
    /// It only computes: several are run one after the other on a thread of a compute pool, or at once if small.
    case computing(@Sendable ([UInt8], TaskParameters) throws(TaskFault) -> [UInt8])
    /// It waits for something between its steps, on the worker's reactor.
    case waiting(@Sendable ([UInt8], TaskContext, isolated Reactor) async throws(TaskFault) -> [UInt8])
  }

  /// The name in paths, in the tables and in cache keys: lower-case letters and digits.
  public let name: String
  /// The name as people write it.
  public let displayName: String
  /// Whether the input is a secret: encrypted in the queue, forgotten when the task is over, and never in a result, a
  /// cache, a list or a log. Two tasks with one input are two tasks.
  public let isSecret: Bool
  /// Whether two tasks with one input are one, whose result is kept for whoever asks again; never with a secret kind.
  public let isShared: Bool
  /// The lines in which its tasks wait, no other kind's.
  public let lines: [TaskLine]
  /// The one in which a task with so many bytes of input waits.
  public let line: @Sendable (_ inputBytes: Int) -> TaskLine
  /// How often a task is tried before it counts as failed, 1 or more.
  public let attemptsMax: Int16
  /// How long one attempt may take.
  public let timeLimit: TimeSpan
  /// The memory in bytes that one attempt takes beyond its input and result, for admission; 0 for next to none.
  public let memoryBytes: @Sendable (TaskParameters) -> Int
  /// What it does; the result is JSON as clients see it.
  public let work: Work
  /// Whether a result that was found somewhere can be that of an input, as far as it is cheap to tell.
  private let accepts: @Sendable (_ result: [UInt8], _ input: [UInt8]) -> Bool

  /// A kind; see the properties.
  public init(
    name: String, displayName: String, isSecret: Bool, isShared: Bool, attemptsMax: Int16 = 3,
    timeLimit: TimeSpan = .seconds(60 as UInt64), lines: [TaskLine],
    line: @escaping @Sendable (_ inputBytes: Int) -> TaskLine,
    memoryBytes: @escaping @Sendable (TaskParameters) -> Int = { _ in 0 },
    accepts: @escaping @Sendable (_ result: [UInt8], _ input: [UInt8]) -> Bool = { _, _ in true }, work: Work
  ) {
    self.name = name
    self.displayName = displayName
    precondition(!isSecret || !isShared, "the result of a secret input is nobody else's")
    self.isSecret = isSecret
    self.isShared = isShared
    self.attemptsMax = attemptsMax
    self.timeLimit = timeLimit
    self.lines = lines
    self.line = line
    self.memoryBytes = memoryBytes
    self.accepts = accepts
    self.work = work
  }

  /// Whether `result`, which somebody else may have put where it was found, can be the result for `input`.
  public func fits(_ result: [UInt8], _ input: [UInt8]) -> Bool { accepts(result, input) }

  /// Runs one attempt and returns the result.
  /// - Throws: `TaskFault`.
  public func run(
    _ input: [UInt8], _ context: TaskContext, on reactor: isolated Reactor
  ) async throws(TaskFault) -> [UInt8] {
    switch work {
    case .waiting(let body): return try await body(input, context, reactor)
    case .computing(let body):
      let parameters = context.parameters
      return try await context.compute({ () throws(TaskFault) in try body(input, parameters) }, on: reactor)
    }
  }

  /// What is stored in the queue for `input`.
  public func payload(of input: [UInt8], sealedBy sealer: Sealer) -> [UInt8] {
    isSecret ? sealer.seal(input, context: Array(name.utf8)) : input
  }

  /// The input that was stored as `payload`.
  /// - Throws: `TaskFault` if it was sealed with another key.
  public func input(of payload: [UInt8], sealedBy sealer: Sealer) throws(TaskFault) -> [UInt8] {
    guard isSecret else { return payload }
    do {
      return try sealer.open(payload, context: Array(name.utf8))
    } catch {
      throw TaskFault("the input was sealed with another key", isFinal: false)
    }
  }
}
