import Basics
import Hashing
import Reactor
import TaskQueue
import Tasks
import Telemetry

extension WorkRoom {
  /// How one attempt ended.
  struct Attempt {
    /// What is to be reported; nil if it was broken off, and the task is given back.
    let outcome: Completion.Outcome?
    /// What the result can be cached under, nil for what is not cached.
    let identity: TaskIdentity?
  }

  /// A result and what it is known by.
  private typealias Computed = (result: [UInt8], identity: TaskIdentity?)

  /// Runs the tasks of one claim, which are of a like size. Those that only compute are computed together, one after
  /// the other, on a thread of a pool, or here if they are small.
  func attempt(_ tasks: [ClaimedTask], on reactor: isolated Reactor) async -> [Attempt] {
    var attempts: [Result<Computed, TaskFault>] = []
    if tasks.allSatisfy({ TaskKind.named($0.kind)?.onlyComputes ?? true }) {
      attempts = await compute(tasks, on: reactor)
    } else {
      for task in tasks { attempts.append(await wait(task, on: reactor)) }
    }
    return zip(tasks, attempts).map { task, attempt in
      switch attempt {
      case .success(let computed):
        Attempt(outcome: .completed(result: computed.result), identity: computed.identity)
      case .failure(let fault):
        Attempt(outcome: fault.isUnwanted ? nil : outcome(of: task, after: fault), identity: nil)
      }
    }
  }

  private func compute(
    _ tasks: [ClaimedTask], on reactor: isolated Reactor
  ) async -> [Result<Computed, TaskFault>] {
    let (sealer, parameters) = (sealer, configuration.parameters)
    let bytes = tasks.reduce(0) { $0 + $1.payload.count }
    let slots = tasks.first.flatMap { TaskKind.named($0.kind)?.line($0.payload.count).slots } ?? .quick
    if slots == .quick, bytes <= configuration.inlineBytesMax {
      return tasks.map { WorkRoom.computed($0, sealer, parameters) }
    }
    let pool = slots == .heavy ? heavyPool : quickPool
    let memory = tasks.lazy.map { TaskKind.named($0.kind)?.memoryBytes(parameters) ?? 0 }.max() ?? 0
    if await admission.take(memory, on: reactor) {
      defer { admission.release(memory, on: reactor) }
      if let results = try? await pool.run(on: reactor, { tasks.map { WorkRoom.computed($0, sealer, parameters) } }) {
        return results
      }
    }
    return tasks.map { _ in .failure(TaskFault("the worker has too much to compute", isFinal: false)) }
  }

  private static func computed(
    _ task: ClaimedTask, _ sealer: Sealer, _ parameters: TaskParameters
  ) -> Result<Computed, TaskFault> {
    do throws(TaskFault) {
      let kind = try kind(of: task)
      guard case .computing(let body) = kind.work else {
        throw TaskFault("\(kind.name) does not compute", isFinal: true)
      }
      var input = try kind.input(of: task.payload, sealedBy: sealer)
      defer { if kind.isSecret { SecretBytes.wipe(&input) } }
      return .success((try body(input, parameters), TaskIdentity(kind, input)))
    } catch {
      return .failure(error)
    }
  }

  /// Runs one task that waits for things, as long as it may.
  private func wait(
    _ task: ClaimedTask, on reactor: isolated Reactor
  ) async -> Result<Computed, TaskFault> {
    do throws(TaskFault) {
      let kind = try WorkRoom.kind(of: task)
      var input = try kind.input(of: task.payload, sealedBy: sealer)
      defer { if kind.isSecret { SecretBytes.wipe(&input) } }
      running.begin(task.id, lease: task.lease, on: reactor)
      defer { running.end(task.id, lease: task.lease) }
      let context = TaskContext(
        id: task.id, attempt: task.attemptsBefore + 1, deadline: reactor.now + kind.timeLimit,
        log: log.named(kind.name), parameters: configuration.parameters,
        pool: longPool,
        cancelled: { self.running.isUnwanted(task.id, lease: task.lease) },
        progressed: { share in self.running.report(task.id, share: share) })
      return .success((try await kind.run(input, context, on: reactor), TaskIdentity(kind, input)))
    } catch {
      return .failure(error)
    }
  }

  private static func kind(of task: ClaimedTask) throws(TaskFault) -> TaskKind {
    guard let kind = TaskKind.named(task.kind) else {
      throw TaskFault("this worker does not know the kind \(task.kind)", isFinal: false)
    }
    return kind
  }
}

extension TaskKind {
  fileprivate var onlyComputes: Bool {
    if case .computing = work { true } else { false }
  }
}
