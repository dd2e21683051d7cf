import Basics
import Reactor
import Redis
import TaskQueue
import Tasks
import Telemetry

/// Passes accepted completions on through Redis: results into the shared cache, and one message a batch to the API
/// processes whose clients wait. Redis makes this fast; nothing depends on it, so a failure is counted and forgotten.
final class ResultPublisher {
  private let configuration: WorkerConfiguration
  private let log: Logger
  private let metrics: Metrics
  private var redis: RedisClient?
  private var batchesUnderWay = 0
  private let failures: Counter

  init(_ configuration: WorkerConfiguration, log: Logger, metrics: Metrics) {
    self.configuration = configuration
    self.log = log
    self.metrics = metrics
    failures = metrics.counter(
      "millrace_worker_publish_failures_total", "Batches of results that Redis did not take.")
  }

  /// Connects, if there is a Redis.
  func start(resolver: Resolver, on reactor: isolated Reactor) {
    guard let redis = configuration.redis else { return }
    self.redis = RedisClient(redis, resolver: resolver, logger: log, metrics: RedisMetrics(metrics), on: reactor)
  }

  /// Hands over what was accepted and returns at once.
  func publish(_ completions: [Completion], identities: [Int64: TaskIdentity], on reactor: isolated Reactor) {
    guard let redis else { return }
    var results: [(key: [UInt8], value: [UInt8])] = []
    var ended: [Int64] = []
    for completion in completions {
      switch completion.outcome {
      case .retry: continue
      case .failed: break
      case .completed(let result):
        guard result.count <= Tasks.Limits.cachedResultBytesMax, let identity = identities[completion.id] else { break }
        results.append((identity.redisKey, result))
      }
      ended.append(completion.id)
    }
    if ended.isEmpty { return }
    batchesUnderWay += 1
    Task.immediate(executorPreference: reactor.queue) {
      do {
        try await redis.setAll(
          results, lifetimeMs: Int64(configuration.resultTTL.milliseconds), thenPublish: RedisNames.message(of: ended),
          to: Array(RedisNames.doneChannel.utf8), on: reactor)
      } catch {
        failures.increment()
        log.debug("results were not cached", [("reason", "\(error)")])
      }
      batchesUnderWay -= 1
    }
  }

  /// Tells whoever watches tasks `ids` that there is something new about them.
  func announce(_ ids: [Int64], on reactor: isolated Reactor) {
    guard let redis else { return }
    batchesUnderWay += 1
    Task.immediate(executorPreference: reactor.queue) {
      _ = try? await redis.publish(RedisNames.message(of: ids), to: Array(RedisNames.changedChannel.utf8), on: reactor)
      batchesUnderWay -= 1
    }
  }

  /// Waits for what is under way, which Redis' own timeouts bound.
  func drain(on reactor: isolated Reactor) async {
    while batchesUnderWay > 0 { await reactor.sleep(for: .milliseconds(1)) }
    redis?.close(on: reactor)
  }
}
