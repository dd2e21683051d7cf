public import Basics
public import Reactor
public import Telemetry

/// What a running task may use.
public struct TaskContext {
  /// The task's number.
  public let id: Int64
  /// Which attempt this is, from 1.
  public let attempt: Int
  /// When the attempt has to be over.
  public let deadline: MonotonicTime
  /// Where it may say something; nothing of a secret input.
  public let log: Logger
  /// What is configured.
  public let parameters: TaskParameters
  private let pool: ComputePool
  private let cancelled: () -> Bool
  private let progressed: (Double) -> Void

  /// A context; `cancelled` tells whether the attempt is wanted no more, and `progressed` takes the share that is done.
  public init(
    id: Int64, attempt: Int, deadline: MonotonicTime, log: Logger, parameters: TaskParameters, pool: ComputePool,
    cancelled: @escaping () -> Bool, progressed: @escaping (Double) -> Void
  ) {
    self.id = id
    self.attempt = attempt
    self.deadline = deadline
    self.log = log
    self.parameters = parameters
    self.pool = pool
    self.cancelled = cancelled
    self.progressed = progressed
  }

  /// Tells how much is done, from 0 to 1.
  public func report(progress: Double) {
    progressed(min(max(progress, 0), 1))
  }

  /// Goes on unless the attempt is wanted no more or its time is over.
  /// - Throws: `TaskFault`.
  public func check(on reactor: isolated Reactor) throws(TaskFault) {
    if cancelled() { throw .unwanted }
    if reactor.now >= deadline { throw TaskFault("the attempt took too long", isFinal: false) }
  }

  /// Waits for `span`, unless the attempt is wanted no more or its time is over meanwhile.
  /// - Throws: `TaskFault`.
  public func sleep(for span: TimeSpan, on reactor: isolated Reactor) async throws(TaskFault) {
    let end = reactor.now + span
    while reactor.now < end {
      try check(on: reactor)
      let rest = TimeSpan(nanoseconds: end.nanoseconds - reactor.now.nanoseconds)
      await reactor.sleep(for: min(rest, Limits.contextLook))
    }
  }

  /// Runs `work` on a thread for what computes.
  /// - Throws: `TaskFault`: what `work` throws, or that too much waits already.
  public func compute<R: Sendable>(
    _ work: @escaping @Sendable () throws(TaskFault) -> R, on reactor: isolated Reactor
  ) async throws(TaskFault) -> R {
    let result: Result<R, TaskFault>
    do {
      result = try await pool.run(on: reactor) {
        do throws(TaskFault) { return .success(try work()) } catch { return .failure(error) }
      }
    } catch {
      throw TaskFault("the worker has too much to compute", isFinal: false)
    }
    return try result.get()
  }
}
