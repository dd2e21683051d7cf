public import Basics
import Reactor

extension TaskKind {
  /// A task that takes its time: it computes, or waits as for a slow disk, and tells how far it is.
  public static let longtask = TaskKind(
    name: "longtask", displayName: "Long", isSecret: false, isShared: false,
    timeLimit: .seconds(Limits.longTaskSecondsMax + 60), lines: [TaskLine(5, .long)],
    line: { _ in TaskLine(5, .long) },
    work: .waiting({ (input, context, reactor) async throws(TaskFault) in
      guard let wish = try? LongTask(body: input) else { throw TaskFault("the input is not understood", isFinal: true) }
      return try await wish.run(context, on: reactor)
    }))
}

/// What a client wants of a long task: `{"task_type":"cpu_intensive","duration":3,"fail":false}` or
/// `{"task":"complex_calculation"}`.
public struct LongTask: Equatable, Sendable {
  /// What it does all the time.
  enum Work: String {
    /// It keeps a processor busy.
    case cpu = "cpu_intensive"
    /// It waits.
    case io = "io_intensive"
    /// A little of both.
    case usual = "default"
  }

  let work: Work
  /// What the client calls it, nil if it has said what it is to do.
  let name: [UInt8]?
  let seconds: Double
  /// Whether it is to fail at its end.
  let fails: Bool

  private static let fields = JSONFields("task_type", "duration", "fail", "task")
  /// How long a task takes if nothing is said of that.
  private static let usualSeconds = 3.0
  /// How many parts it goes through at the most, and a second of it; after each it tells how far it is.
  private static let partsMax = 100
  private static let partsPerSecond = 20.0

  /// The wish that is told by a request's `body`, JSON.
  /// - Throws: `JSONError` if it is none.
  public init(body: [UInt8]) throws(JSONError) {
    var (work, name, seconds, fails) = (Work?.none, [UInt8]?.none, Double?.none, false)
    try JSONScanner.read(body) { (scanner: inout JSONScanner) throws(JSONError) in
      try scanner.object(LongTask.fields) { (scanner, field) throws(JSONError) in
        switch field {
        case 0:
          work = Work(rawValue: String(decoding: try scanner.string(), as: UTF8.self))
          if work == nil { throw scanner.wrongShape("takes cpu_intensive, io_intensive or default") }
        case 1:
          seconds = try scanner.double()
          guard let seconds, 0...Limits.longTaskSecondsMax ~= seconds else {
            throw scanner.wrongShape("takes 0 to 600 seconds")
          }
        case 2: fails = try scanner.bool()
        default:
          name = try scanner.string()
          guard let name, 1...Limits.longTaskNameBytesMax ~= name.count else {
            throw scanner.wrongShape("takes 1 to 1,024 bytes")
          }
        }
      }
      if name == nil { _ = try scanner.required(work, "task_type") }
    }
    self.work = work ?? .usual
    self.name = name
    self.seconds = seconds ?? LongTask.usualSeconds
    self.fails = fails
  }

  /// Does it, and returns what there is to tell.
  func run(_ context: TaskContext, on reactor: isolated Reactor) async throws(TaskFault) -> [UInt8] {
    let began = reactor.now
    let parts = max(1, min(LongTask.partsMax, Int(seconds * LongTask.partsPerSecond)))
    let part = TimeSpan.seconds(seconds / Double(parts))
    var sum: UInt64 = 0
    for index in 0..<parts {
      try context.check(on: reactor)
      switch work {
      case .io: try await context.sleep(for: part, on: reactor)
      case .cpu: sum &+= try await LongTask.compute(part, context, on: reactor)
      case .usual:
        let half = TimeSpan(nanoseconds: part.nanoseconds / 2)
        sum &+= try await LongTask.compute(half, context, on: reactor)
        try await context.sleep(for: half, on: reactor)
      }
      context.report(progress: Double(index + 1) / Double(parts))
    }
    if fails { throw TaskFault("the task was asked to fail", isFinal: false) }
    var json = JSONWriter()
    json.object { json in
      if let name { json.field("task", name) } else { json.field("task_type", work.rawValue) }
      json.field("steps", sum)
      json.field("execution_time_seconds", reactor.now.since(began).seconds)
    }
    return json.bytes
  }

  /// Keeps a thread busy for `span`, in pieces that leave room for others, and returns how many steps it has done.
  private static func compute(
    _ span: TimeSpan, _ context: TaskContext, on reactor: isolated Reactor
  ) async throws(TaskFault) -> UInt64 {
    let end = reactor.now + span
    var steps: UInt64 = 0
    while reactor.now < end {
      try context.check(on: reactor)
      steps += try await context.compute(
        { () throws(TaskFault) -> UInt64 in
          let pieceEnd = min(end, MonotonicTime.current() + .milliseconds(10))
          var (steps, random) = (0 as UInt64, SeededRandom(seed: 1))
          while MonotonicTime.current() < pieceEnd {
            for _ in 0..<1000 { _ = random.next() }
            steps += 1000
          }
          return steps
        }, on: reactor)
    }
    return steps
  }
}
