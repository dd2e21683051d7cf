import Basics
import Hashing
import Postgres
import Reactor
import Redis
import TaskQueue
import Telemetry

/// What the slots of one worker process share: connections, the compute pools, the leases held, and counters.
final class WorkRoom {
  /// The worker's counters.
  struct Counters {
    let claimed: Counter
    let completed: Counter
    let failed: Counter
    let stale: Counter
    let released: Counter
    let sweepFinds: Counter

    init(_ metrics: Metrics) {
      claimed = metrics.counter("millrace_worker_claimed_tasks_total", "Tasks claimed.")
      completed = metrics.counter("millrace_worker_completed_tasks_total", "Completions that were accepted.")
      failed = metrics.counter("millrace_worker_failed_attempts_total", "Attempts that ended with an error.")
      stale = metrics.counter(
        "millrace_worker_stale_completions_total", "Completions refused because the lease had been taken away.")
      released = metrics.counter("millrace_worker_released_tasks_total", "Tasks given back unbegun.")
      sweepFinds = metrics.counter(
        "millrace_worker_safety_sweep_finds_total", "Tasks that no notification had told of: this should stay 0.")
    }
  }

  let configuration: WorkerConfiguration
  let client: PostgresClient
  let log: Logger
  let metrics: Counters
  var random = SeededRandom.fromSystem()
  var claims: Claims
  private(set) var isStopping = false
  private(set) var heldLeases: Set<Int64> = []

  private let publisher: ResultPublisher
  private let sealer: Sealer
  private let quickPool: ComputePool
  private let heavyPool: ComputePool
  private let admission: MemoryAdmission
  private var retries = RetryPolicy(random: .fromSystem())

  init(
    _ configuration: WorkerConfiguration, client: PostgresClient, publisher: ResultPublisher, quickPool: ComputePool,
    heavyPool: ComputePool, worker: Int64, log: Logger, metrics: Metrics
  ) {
    self.configuration = configuration
    self.client = client
    self.publisher = publisher
    self.log = log
    self.metrics = Counters(metrics)
    claims = Claims(worker: worker)
    sealer = Sealer(key: configuration.secret.derived(for: "queue"))
    self.quickPool = quickPool
    self.heavyPool = heavyPool
    admission = MemoryAdmission(bytesMax: configuration.memoryBytesMax)
  }

  func hold(_ lease: Int64) { heldLeases.insert(lease) }
  func letGo(_ lease: Int64) { heldLeases.remove(lease) }
  func stop() { isStopping = true }

  /// Passes accepted results on to the cache and to waiting clients.
  func publish(
    _ completions: [Completion], accepted: [Int64], inputs: [Int64: ClaimedTask], on reactor: isolated Reactor
  ) {
    guard !accepted.isEmpty else { return }
    let counted = accepted.count == completions.count ? nil : Set(accepted)
    publisher.publish(completions.filter { counted?.contains($0.id) ?? true }, inputs: inputs, on: reactor)
  }

  /// Computes tasks of one claim in order, on a compute thread unless they are so small that the way there would cost
  /// more than the work.
  func compute(
    _ tasks: [ClaimedTask], group: HashKind.SlotGroup, on reactor: isolated Reactor
  ) async -> [Completion.Outcome] {
    let attempts: [Result<[UInt8], TaskFault>]
    let bytes = tasks.reduce(0) { $0 + $1.payload.count }
    if group == .quick, bytes <= configuration.inlineBytesMax {
      attempts = tasks.map { WorkRoom.attempt($0, sealer, configuration.parameters) }
    } else {
      let pool = group == .heavy ? heavyPool : quickPool
      attempts =
        await compute(tasks, on: pool, on: reactor)
        ?? tasks.map { _ in .failure(TaskFault(reason: "the worker has too much to compute", isFinal: false)) }
    }
    return zip(tasks, attempts).map { task, attempt in
      switch attempt {
      case .success(let result): return .completed(result: result)
      case .failure(let fault):
        metrics.failed.increment()
        log.warning(
          "attempt failed",
          [("task", "\(task.id)"), ("kind", task.kind), ("reason", fault.reason), ("request_id", task.trace ?? "")])
        return fault.isFinal ? .failed(error: fault.reason) : retries.outcome(of: task, error: fault.reason)
      }
    }
  }

  /// Computes on `pool` as soon as there is memory for it; nil if too much waits already.
  private func compute(
    _ tasks: [ClaimedTask], on pool: ComputePool, on reactor: isolated Reactor
  ) async -> [Result<[UInt8], TaskFault>]? {
    let sealer = sealer
    let parameters = configuration.parameters
    // The tasks of a claim are computed one after the other.
    let memory = tasks.lazy.map { HashKind.named($0.kind)?.memoryBytes(with: parameters) ?? 0 }.max() ?? 0
    guard await admission.take(memory, on: reactor) else { return nil }
    defer { admission.release(memory, on: reactor) }
    return try? await pool.run(on: reactor) { tasks.map { WorkRoom.attempt($0, sealer, parameters) } }
  }

  /// Why an attempt has no result; `isFinal` if trying again cannot help.
  struct TaskFault: Error {
    let reason: String
    let isFinal: Bool
  }

  private static func attempt(
    _ task: ClaimedTask, _ sealer: Sealer, _ parameters: HashKind.Parameters
  ) -> Result<[UInt8], TaskFault> {
    guard let kind = HashKind.named(task.kind) else {
      return .failure(TaskFault(reason: "this worker does not know the kind \(task.kind)", isFinal: false))
    }
    do throws(HashingError) {
      let input = kind.isSecret ? try sealer.open(task.payload, context: Array(kind.name.utf8)) : task.payload
      return .success(try kind.result(of: input, parameters: parameters))
    } catch {
      switch error {
      case .notAuthentic:
        return .failure(TaskFault(reason: "the input was sealed with another key", isFinal: false))
      case .invalidParameters:
        return .failure(TaskFault(reason: "the argon2 parameters are not valid", isFinal: true))
      default: return .failure(TaskFault(reason: "out of memory or threads", isFinal: false))
      }
    }
  }
}
