import Basics
import Caching
import Reactor
import Redis
import Roles
import Tasks
import Telemetry

/// Results of hash tasks in two levels: this process's memory and the shared Redis. A result never changes, so nothing
/// has to be invalidated; a promoted entry never outlives the one it came from, and what was asked for before somebody
/// told to forget is not put in after it.
///
/// Keys are kind and SHA-256 of the input, compared whole: two inputs with one key would be a collision of SHA-256.
final class ResultCache {
  /// A stored result: the bytes as clients see them, and when it was stored in the level it lives longest in.
  struct Entry {
    let result: [UInt8]
    let storedAt: MonotonicTime
  }

  /// A result that was found.
  struct Hit {
    let result: [UInt8]
    /// `L1`, `L2` or `L3`, as `Cache-Status` tells it.
    let level: StaticString
    let ageSeconds: Int
  }

  private var memory: S3FIFO<TaskIdentity, Entry>
  /// How often everything was forgotten.
  private(set) var generation = 0
  private let redis: RedisClient?
  private let ttl: TimeSpan
  private let log: Logger
  private(set) var l2 = CacheStatistics()
  /// Values in Redis that were none of ours.
  private(set) var l2Refused = 0
  private let refused: Counter
  private let held: Gauge

  init(entriesMax: Int, bytesMax: Int, ttl: TimeSpan, redis: RedisClient?, log: Logger, metrics: Metrics) {
    memory = S3FIFO(entriesMax: entriesMax, bytesMax: bytesMax)
    self.redis = redis
    self.ttl = ttl
    self.log = log
    held = MemoryMetrics.part("cache", in: metrics)
    refused = metrics.counter(
      "millrace_cache_refused_total", "Values in the shared cache that could not be the result they were found for.")
  }

  /// What L1 has done, and how much it holds.
  var l1: (statistics: CacheStatistics, count: Int, bytes: Int) { (memory.statistics, memory.count, memory.bytes) }

  /// Looks in this process's memory.
  func inMemory(_ identity: TaskIdentity, at now: MonotonicTime) -> Hit? {
    guard let found = memory.value(for: identity, at: now) else { return nil }
    let age = now.since(found.value.storedAt).seconds
    return Hit(result: found.value.result, level: "L1", ageSeconds: Int(age))
  }

  /// Looks into Redis for the result of a task of `kind` with `input` and keeps what it finds in memory. A Redis that
  /// is away, slow or full is a miss, and so is a value that cannot be that result: anybody may have put it there, and
  /// it is removed.
  func inRedis(
    _ identity: TaskIdentity, _ kind: TaskKind, _ input: [UInt8], on reactor: isolated Reactor
  ) async -> Hit? {
    guard let redis else { return nil }
    let generation = generation
    do {
      guard let (result, lifetimeMs) = try await redis.getWithLifetime(identity.redisKey, on: reactor), lifetimeMs > 0
      else {
        l2.misses += 1
        return nil
      }
      guard kind.fits(result, input) else {
        l2.misses += 1
        l2Refused += 1
        refused.increment()
        log.warning("the shared cache held what is no result of ours", [("kind", kind.name)])
        _ = try? await redis.remove([identity.redisKey], on: reactor)
        return nil
      }
      l2.hits += 1
      // One without an end was not put there by us; it is as old as one that was put there now.
      let remaining = lifetimeMs == .max ? ttl : TimeSpan.milliseconds(UInt64(lifetimeMs))
      let age = ttl > remaining ? TimeSpan(nanoseconds: ttl.nanoseconds - remaining.nanoseconds) : TimeSpan.seconds(0.0)
      if generation == self.generation {
        remember(identity, result, age: age, remaining: min(remaining, ttl), at: reactor.now)
      }
      return Hit(result: result, level: "L2", ageSeconds: Int(age.seconds))
    } catch {
      l2.misses += 1
      log.debug("no answer from the shared cache", [("reason", "\(error)")])
      return nil
    }
  }

  /// Keeps in both levels a result that PostgreSQL had, for as long as it would be kept there at most.
  /// - Parameter generation: what it was when PostgreSQL was asked.
  func promote(
    _ identity: TaskIdentity, result: [UInt8], ageSeconds: Double, retention: TimeSpan, askedIn generation: Int,
    on reactor: isolated Reactor
  ) -> Hit {
    let age = TimeSpan.seconds(ageSeconds)
    let hit = Hit(result: result, level: "L3", ageSeconds: Int(ageSeconds))
    guard retention > age, result.count <= Tasks.Limits.cachedResultBytesMax, generation == self.generation else {
      return hit
    }
    let remaining = min(ttl, TimeSpan(nanoseconds: retention.nanoseconds - age.nanoseconds))
    remember(identity, result, age: age, remaining: remaining, at: reactor.now)
    if let redis {
      Task.immediate(executorPreference: reactor.queue) {
        await self.store(identity.redisKey, result, remaining, redis, on: reactor)
      }
    }
    return hit
  }

  /// Forgets everything in memory, and what is on its way there.
  func clearMemory() {
    generation += 1
    memory.removeAll()
    held.set(memory.bytes)
  }

  private func store(
    _ key: [UInt8], _ result: [UInt8], _ remaining: TimeSpan, _ redis: RedisClient, on reactor: isolated Reactor
  ) async {
    do {
      try await redis.set(key, result, lifetimeMs: Int64(remaining.milliseconds), on: reactor)
      l2.sets += 1
    } catch {
      log.debug("the shared cache did not take a result", [("reason", "\(error)")])
    }
  }

  private func remember(
    _ identity: TaskIdentity, _ result: [UInt8], age: TimeSpan, remaining: TimeSpan, at now: MonotonicTime
  ) {
    let storedAt = MonotonicTime(nanoseconds: now.nanoseconds - min(now.nanoseconds, age.nanoseconds))
    memory.set(
      Entry(result: result, storedAt: storedAt), for: identity, bytes: result.count + 96, expiry: now + remaining,
      at: now
    )
    held.set(memory.bytes)
  }
}
