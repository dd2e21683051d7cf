import Basics
import Caching
import DataItems
import Reactor
import Redis
import Roles
import Telemetry

/// The values of `GET /data` in three levels: this process's memory, the shared Redis, and PostgreSQL beside the values
/// themselves. Unlike results of tasks they change. Every change is told by PostgreSQL, whoever makes it, and whoever
/// hears of one forgets what is in memory, and does not keep what was on its way there.
///
/// Who may answer what for how long is decided in `Caching`; here it is performed. Redis may be away, slow or full:
/// then it is a level that has nothing.
final class DataCache: DataFeedReceiver {
  /// What there is for a key.
  struct Found {
    /// Nil if the key has no value.
    let value: DataValue?
    /// Where it was found; nil if it was loaded.
    let level: CacheLevel?
    /// How long it would still be there.
    var remaining = TimeSpan.milliseconds(0)
    /// When it was the value for sure, by this process's clock.
    let trueAt: MonotonicTime
    /// Whether another request had begun to load it.
    var isShared = false
  }

  /// What is wanted: who asks one level alone does not wait for those who ask all.
  private struct Wish: Hashable {
    let key: String
    let level: CacheLevel?
  }

  private struct Entry {
    /// Nil says that there is none.
    let value: DataValue?
    /// When that was so for sure.
    let trueAt: MonotonicTime
  }

  private enum News {
    case found(Found)
    case lead
    case failed(DataError)
  }

  private let store: DataStore
  private let feed: DataFeed
  /// By hashes of keys, so that keys of any length take little room: two that share one are at worst asked for in vain.
  private var coherence: Coherence<Int>
  let times = LevelTimes()
  private var memory: S3FIFO<String, Entry>
  private var flights = SingleFlight<Wish, UnsafeContinuation<News, Never>>()
  private var random = SeededRandom.fromSystem()
  /// What is answered beside some of the values.
  let parts: ServiceParts
  private let shared: SharedData?
  private let delay: TimeSpan
  private let log: Logger
  private let held: Gauge
  /// What each level has done; evictions and what has expired in memory are counted there.
  private var levels = [CacheStatistics](repeating: CacheStatistics(), count: CacheLevel.allCases.count)
  private let counts: DataCounters
  private let pruning = Pause()
  private var isClosed = false

  init(
    _ store: DataStore, _ feed: DataFeed, redis: RedisClient?, bytesMax: Int, delay: TimeSpan, log: Logger,
    metrics: Metrics
  ) {
    self.store = store
    self.feed = feed
    coherence = Coherence(memory: times.l2)
    self.delay = delay
    self.log = log
    shared = redis.map { SharedData($0, log: log) }
    memory = S3FIFO(entriesMax: Limits.dataEntriesMax, bytesMax: bytesMax)
    parts = ServiceParts(bytesMax: bytesMax / 4)
    held = MemoryMetrics.part("data", in: metrics)
    counts = DataCounters(metrics)
  }

  /// Begins to connect, and to remove what has expired beside the values.
  func start(on reactor: isolated Reactor) {
    store.start(on: reactor)
    feed.start(self, on: reactor)
    Task.immediate(executorPreference: reactor.queue) {
      while !isClosed {
        // Not all processes at once.
        let share = Double.random(in: 0.5...1, using: &random)
        await pruning.wait(until: reactor.now + .seconds(Limits.dataPrunePause.seconds * share), on: reactor)
        guard !isClosed else { return }
        do throws(DataError) {
          try await store.prune(on: reactor)
        } catch {
          log.debug("expired values were not removed", [("reason", "\(error)")])
        }
      }
    }
  }

  /// Ends all that.
  func close(on reactor: isolated Reactor) {
    isClosed = true
    pruning.end()
    feed.close(on: reactor)
    store.close(on: reactor)
  }

  /// What `level` has done, for this process.
  func statistics(of level: CacheLevel) -> CacheStatistics {
    var statistics = levels[level.rawValue - 1]
    if level == .l1 {
      statistics.evictions = memory.statistics.evictions
      statistics.expirations = memory.statistics.expirations
    }
    return statistics
  }

  /// Values in memory, and their bytes.
  var size: (count: Int, bytes: Int) { (memory.count, memory.bytes) }

  /// Values that were read from their table, requests that no level could answer, and such that were answered by what
  /// another one had begun to look for.
  var loads: (count: UInt64, missed: UInt64, shared: UInt64) {
    (counts.loads.value, counts.misses.value, counts.shared.value)
  }

  /// Whether this process hears of changes.
  var hearsOfChanges: Bool { coherence.isHearing }

  /// Whether what was true at `time`, and was not forgotten since, is believed.
  func believes(since time: MonotonicTime, at now: MonotonicTime) -> Bool { coherence.believes(since: time, at: now) }

  private func note(_ level: CacheLevel, isHit: Bool) {
    if isHit { levels[level.rawValue - 1].hits += 1 } else { levels[level.rawValue - 1].misses += 1 }
  }

  // MARK: Looking

  /// The value that `query` asks for, from the nearest level that has it.
  /// - Throws: `DataError` if PostgreSQL has no answer.
  func value(_ query: DataQuery, on reactor: isolated Reactor) async throws(DataError) -> Found {
    if query.isBypass { return try await load(query, nil, on: reactor) }
    if coherence.wantsProof(at: reactor.now) { await prove(on: reactor) }
    if query.level ?? .l1 == .l1 {
      let found = inMemory(query.key, at: reactor.now)
      note(.l1, isHit: found != nil)
      if let found { return counted(found) }
    }
    let askedAt = reactor.now
    while true {
      switch flights.join(Wish(key: query.key, level: query.level)) {
      case .lead(let flight): return counted(try await lead(flight, query, on: reactor))
      case .refused: return try await load(query, nil, on: reactor)
      case .follow(let flight):
        switch await withUnsafeContinuation({ flights.wait($0, for: flight) }) {
        case .found(var found):
          // It was begun so long ago that a change which was acknowledged since then may be missing.
          if askedAt.since(found.trueAt) > Caching.Limits.coherenceTrust { continue }
          counts.shared.increment()
          found.isShared = true
          return found
        case .lead: return counted(try await lead(flight, query, on: reactor))
        case .failed(let error): throw error
        }
      }
    }
  }

  /// Sees to it that all changes were heard until a moment ago; beside those who ask all the time. Nobody waits for a
  /// PostgreSQL that has left another one waiting for nothing.
  private func prove(on reactor: isolated Reactor) async {
    let deadline = reactor.now + Limits.dataProofPatience
    if coherence.isProven(at: reactor.now) || feed.isSilent {
      guard !feed.isProving else { return }
      Task.immediate(executorPreference: reactor.queue) { await feed.prove(until: deadline, on: reactor) }
    } else {
      await feed.prove(until: deadline, on: reactor)
    }
  }

  private typealias Flight = SingleFlight<Wish, UnsafeContinuation<News, Never>>.Flight

  private func lead(
    _ flight: Flight, _ query: DataQuery, on reactor: isolated Reactor
  ) async throws(DataError) -> Found {
    do throws(DataError) {
      let found = try await find(query, flight, on: reactor)
      for waiter in flights.land(flight) { waiter.resume(returning: .found(found)) }
      return found
    } catch {
      switch flights.fail(flight) {
      case .elected(let waiter): waiter.resume(returning: .lead)
      case .over(let waiters): for waiter in waiters { waiter.resume(returning: .failed(error)) }
      }
      throw error
    }
  }

  private func find(
    _ query: DataQuery, _ flight: Flight, on reactor: isolated Reactor
  ) async throws(DataError) -> Found {
    if query.level ?? .l2 == .l2, let shared, coherence.believesShared(at: reactor.now) {
      let found = await shared.value(query.key, on: reactor)
      let trueAt = found.flatMap { believe($0.value, of: query.key, at: reactor.now) }
      note(.l2, isHit: trueAt != nil)
      if let (value, remaining) = found, let trueAt {
        climb(value, of: query, from: .l2, remaining, flight, trueAt: trueAt, on: reactor)
        return Found(value: value, level: .l2, remaining: remaining, trueAt: trueAt)
      }
    }
    if query.level ?? .l3 == .l3 {
      let askedAt = reactor.now
      let kept = try await store.kept(query.key, on: reactor)
      note(.l3, isHit: kept != nil)
      if let kept {
        let value = DataValue(kept.value, version: kept.version, stamp: kept.stamp, age: kept.age, at: reactor.now)
        climb(value, of: query, from: .l3, kept.remaining, flight, trueAt: askedAt, on: reactor)
        return Found(value: value, level: .l3, remaining: kept.remaining, trueAt: askedAt)
      }
    }
    return try await load(query, flight, on: reactor)
  }

  private func inMemory(_ key: String, at now: MonotonicTime) -> Found? {
    guard let (entry, expiry) = memory.value(for: key, at: now) else { return nil }
    guard coherence.believes(since: entry.trueAt, at: now) else { return nil }
    return Found(value: entry.value, level: .l1, remaining: expiry.since(now), trueAt: entry.trueAt)
  }

  /// When a copy that processes share was true for sure, nil if it is not believed. That was at the last proof and not
  /// now: else it would be believed for another while without one.
  private func believe(_ copy: DataValue, of key: String, at now: MonotonicTime) -> MonotonicTime? {
    guard coherence.believes(key.hashValue, version: copy.version, stamp: copy.stamp, at: now) else { return nil }
    return coherence.provenAt
  }

  /// Reads the value itself, and keeps it if it is loaded for all who want it.
  private func load(
    _ query: DataQuery, _ flight: Flight?, on reactor: isolated Reactor
  ) async throws(DataError) -> Found {
    counts.loads.increment()
    if delay.nanoseconds > 0 { await reactor.sleep(for: delay) }
    let askedAt = reactor.now
    let item = try await store.item(query.key, on: reactor)
    let value = item.map { DataValue($0.value, version: $0.version, stamp: $0.stamp, at: reactor.now) }
    guard let flight, !flights.isOvertaken(flight) else {
      return Found(value: value, level: nil, trueAt: askedAt)
    }
    let levels = query.level.map { [$0] } ?? CacheLevel.allCases
    guard let item, let value else {
      if levels.contains(.l1) { remember(nil, of: query.key, for: times.negative, trueAt: askedAt, at: reactor.now) }
      return Found(value: nil, level: nil, trueAt: askedAt)
    }
    for level in levels {
      let lifetime = times.lifetime(in: level, wish: query.lifetime, using: &random)
      switch level {
      case .l1: remember(value, of: query.key, for: lifetime, trueAt: askedAt, at: reactor.now)
      case .l2: share(value, of: query.key, for: lifetime, on: reactor)
      case .l3: keep(item, of: query.key, for: lifetime, on: reactor)
      }
    }
    return Found(value: value, level: nil, trueAt: askedAt)
  }

  // MARK: Keeping

  private func climb(
    _ value: DataValue, of query: DataQuery, from level: CacheLevel, _ remaining: TimeSpan, _ flight: Flight,
    trueAt: MonotonicTime, on reactor: isolated Reactor
  ) {
    guard query.level == nil, !flights.isOvertaken(flight),
      let next = times.promotion(from: level, remaining: remaining, wish: query.lifetime, using: &random)
    else { return }
    if next.level == .l1 {
      remember(value, of: query.key, for: next.lifetime, trueAt: trueAt, at: reactor.now)
    } else {
      share(value, of: query.key, for: next.lifetime, on: reactor)
    }
  }

  private func remember(
    _ value: DataValue?, of key: String, for lifetime: TimeSpan, trueAt: MonotonicTime, at now: MonotonicTime
  ) {
    memory.set(
      Entry(value: value, trueAt: trueAt), for: key, bytes: key.utf8.count + (value?.bytes ?? 128),
      expiry: now + lifetime, at: now)
    levels[0].sets += 1
    held.set(memory.bytes)
  }

  private func share(_ value: DataValue, of key: String, for lifetime: TimeSpan, on reactor: isolated Reactor) {
    guard let shared else { return }
    levels[CacheLevel.l2.rawValue - 1].sets += 1
    shared.keep(value, of: key, for: lifetime, on: reactor)
  }

  /// Keeps `item` beside the values, unless it has changed by then. Nobody waits for that.
  private func keep(_ item: DataStore.Item, of key: String, for lifetime: TimeSpan, on reactor: isolated Reactor) {
    let readAt = reactor.now
    levels[CacheLevel.l3.rawValue - 1].sets += 1
    Task.immediate(executorPreference: reactor.queue) {
      do throws(DataError) {
        let age = reactor.now.since(readAt)
        try await store.keep(key, version: item.version, age: age, for: lifetime, on: reactor)
      } catch {
        log.debug("a value was not kept beside its source", [("reason", "\(error)")])
      }
    }
  }

  // MARK: Changing

  /// Gives `key` another value. A process that does not hear of it at once believes the former one for less than a
  /// second.
  /// - Throws: `DataError`; if that is unknown it may have been stored.
  func put(_ key: String, _ json: [UInt8], on reactor: isolated Reactor) async throws(DataError) {
    // Also if it is not known whether it was stored.
    defer { forget(key, on: reactor) }
    try await store.put(key, json, on: reactor)
  }

  /// Forgets what is kept of `key` in all levels, and has all other processes do so.
  /// - Throws: `DataError` if PostgreSQL has no answer: nobody else has heard of it then.
  func invalidate(_ key: String, on reactor: isolated Reactor) async throws(DataError) {
    defer { forget(key, on: reactor) }
    try await store.forget(key, on: reactor)
  }

  /// Forgets what is kept of all keys that begin with `prefix` in all levels, and has all other processes forget
  /// whatever they have.
  /// - Throws: `DataError` if PostgreSQL has no answer: nobody else has heard of it then.
  func invalidateAll(prefix: String, on reactor: isolated Reactor) async throws(DataError) {
    defer {
      forgetAll()
      shared?.forgetAll(prefix: prefix, on: reactor)
    }
    try await store.forgetAll(prefix: prefix, on: reactor)
  }

  private func forget(_ key: String, on reactor: isolated Reactor) {
    forget(key)
    // Nobody would believe it; whoever looks with redis-cli need not see it either.
    shared?.forget(key, on: reactor)
  }

  /// Forgets `key` in memory, and what is on its way there.
  private func forget(_ key: String) {
    for level in [nil] + CacheLevel.allCases.map(Optional.some) { flights.overtake(Wish(key: key, level: level)) }
    parts.forget(key)
    if memory.remove(key) { levels[0].invalidations += 1 }
    held.set(memory.bytes)
  }

  /// Forgets everything in memory, and what is on its way there.
  func forgetAll() {
    flights.overtakeAll()
    parts.forgetAll()
    levels[0].invalidations += memory.removeAll()
    held.set(memory.bytes)
  }

  // MARK: Hearing of changes

  func feedBegan(on reactor: isolated Reactor) {
    // What was missed is not known.
    forgetAll()
    coherence.began(at: reactor.now)
  }

  func feedEnded(on reactor: isolated Reactor) {
    coherence.ended()
  }

  func proved(at time: MonotonicTime, clock: Int64, on reactor: isolated Reactor) {
    coherence.proved(at: time, clock: clock)
  }

  func heard(_ change: DataChange, on reactor: isolated Reactor) {
    switch change {
    case .value(let key, let version):
      coherence.changed(key.hashValue, to: version, at: reactor.now)
      forget(key)
    case .invalidated(let key, let stamp):
      coherence.invalidated(key.hashValue, since: stamp, at: reactor.now)
      forget(key)
    case .allInvalidated(let stamp):
      coherence.invalidatedAll(since: stamp)
      forgetAll()
    }
  }

  private func counted(_ found: Found) -> Found {
    counts.count(found.level)
    return found
  }
}
