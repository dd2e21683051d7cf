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
/// then it is a level that has nothing. What people put into the cache itself goes the same ways, but for the source:
/// PostgreSQL's level has it, or nobody.
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
    /// How long ago its time was over; nil if it is not.
    var staleFor: TimeSpan?
    /// Whether another request had begun to load it.
    var isShared = false
  }

  /// What is wanted: who asks one level alone does not wait for those who ask all.
  struct Wish: Hashable {
    let key: DataKey
    let level: CacheLevel?
    /// Whether nobody waits for it: what there is was answered.
    var isRefresh = false
  }

  struct Entry {
    /// Nil says that there is none.
    let value: DataValue?
    /// When that was so for sure.
    let trueAt: MonotonicTime
    /// Until when it is answered without looking for another one.
    let freshUntil: MonotonicTime
  }

  /// A load for which nobody waits.
  private struct Refresh {
    /// Where the copy is that is to be replaced: only what is below that is looked into.
    let below: CacheLevel
    /// How long that one is still good.
    let outlives: TimeSpan
  }

  enum News {
    case found(Found)
    case lead
    case failed(DataError)
  }

  let store: DataStore
  private let feed: DataFeed
  /// By hashes of keys, so that keys of any length take little room: two that share one are at worst asked for in vain.
  var coherence: Coherence<Int>
  let times: LevelTimes
  private var early = EarlyRefresh()
  var memory: S3FIFO<DataKey, Entry>
  var flights = SingleFlight<Wish, UnsafeContinuation<News, Never>>()
  var random = SeededRandom.fromSystem()
  /// What is answered beside some of the values.
  let parts: ServiceParts
  let shared: SharedData?
  let delay: TimeSpan
  let log: Logger
  let held: Gauge
  /// What each level has done; evictions and what has expired in memory are counted there.
  var levels = [CacheStatistics](repeating: CacheStatistics(), count: CacheLevel.allCases.count)
  let counts: DataCounters
  private let pruning = Pause()
  private var isClosed = false

  init(
    _ store: DataStore, _ feed: DataFeed, redis: RedisClient?, bytesMax: Int, times: LevelTimes, delay: TimeSpan,
    log: Logger, metrics: Metrics
  ) {
    self.store = store
    self.feed = feed
    self.times = times
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
  //
  // What is believed is judged by the time it is, not by the one at which this turn of the loop began: a process may
  // have been frozen since then, while the request lay in its socket and others changed the value.

  /// The value that `query` asks for, from the nearest level that has it.
  /// - Throws: `DataError` if PostgreSQL has no answer.
  func value(_ query: DataQuery, on reactor: isolated Reactor) async throws(DataError) -> Found {
    if query.isBypass { return try await load(query, nil, on: reactor) }
    if coherence.wantsProof(at: .current()) { await prove(on: reactor) }
    if query.level ?? .l1 == .l1 {
      let found = inMemory(query.key, at: .current())
      note(.l1, isHit: found != nil && found?.staleFor == nil)
      if let found, found.staleFor.map({ $0 <= times.staleWhileLoaded }) ?? true {
        if found.staleFor != nil {
          refresh(query, Refresh(below: .l1, outlives: .milliseconds(0)), on: reactor)
          return countedStale(found, .beingLoaded)
        }
        refreshEarly(query, found, on: reactor)
        return counted(found)
      }
    }
    do throws(DataError) {
      return try await fetched(query, on: reactor)
    } catch {
      if coherence.wantsProof(at: .current()) { await prove(on: reactor) }
      if let found = inSpite(of: query, at: .current()) { return countedStale(found, .failed) }
      throw error
    }
  }

  /// What is not in memory, from whoever of those who want it asks for it first.
  private func fetched(_ query: DataQuery, on reactor: isolated Reactor) async throws(DataError) -> Found {
    let askedAt = MonotonicTime.current()
    while true {
      switch flights.join(Wish(key: query.key, level: query.level)) {
      case .lead(let flight): return counted(try await lead(flight, query, on: reactor))
      case .refused: return try await find(query, nil, on: reactor)
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
    if coherence.isProven(at: .current()) || feed.isSilent {
      guard !feed.isProving else { return }
      Task.immediate(executorPreference: reactor.queue) { await feed.prove(until: deadline, on: reactor) }
    } else {
      await feed.prove(until: deadline, on: reactor)
    }
  }

  typealias Flight = SingleFlight<Wish, UnsafeContinuation<News, Never>>.Flight

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

  /// Loads a value anew, for which nobody waits, unless that is being done.
  private func refresh(_ query: DataQuery, _ refresh: Refresh, on reactor: isolated Reactor) {
    guard case .lead(let flight) = flights.join(Wish(key: query.key, level: query.level, isRefresh: true)) else {
      return
    }
    Task.immediate(executorPreference: reactor.queue) {
      do throws(DataError) {
        _ = try await find(query, flight, refresh, on: reactor)
        _ = flights.land(flight)
      } catch {
        _ = flights.fail(flight)
        log.debug("a value was not loaded anew", [("reason", "\(error)")])
      }
    }
  }

  /// The same for one that is near its end, if loading it takes long.
  private func refreshEarly(_ query: DataQuery, _ found: Found, on reactor: isolated Reactor) {
    guard let level = found.level, query.key.space == .item, early.wants(remaining: found.remaining, using: &random)
    else { return }
    counts.early.increment()
    refresh(query, Refresh(below: level, outlives: found.remaining), on: reactor)
  }

  /// Looks into all levels but memory, and keeps what it finds if there is a `flight`.
  private func find(
    _ query: DataQuery, _ flight: Flight?, _ refresh: Refresh? = nil, on reactor: isolated Reactor
  ) async throws(DataError) -> Found {
    let isRefresh = refresh != nil
    let above = refresh?.below ?? .l1
    let levels = CacheLevel.allCases.filter { $0.rawValue > above.rawValue && query.level ?? $0 == $0 }
    if levels.contains(.l2), let shared, coherence.believesShared(at: .current()) {
      let found = await shared.value(query.key, on: reactor)
      let trueAt = found.flatMap { believe($0.value, of: query.key, at: .current()) }
      if !isRefresh { note(.l2, isHit: trueAt != nil) }
      if let (value, remaining) = found, let trueAt, suits(remaining, refresh) {
        let found = Found(value: value, level: .l2, remaining: remaining, trueAt: trueAt)
        climb(found, of: query, flight, isRefresh: isRefresh, on: reactor)
        if !isRefresh { refreshEarly(query, found, on: reactor) }
        return found
      }
    }
    if levels.contains(.l3) {
      let askedAt = reactor.now
      let kept: DataStore.Kept?
      switch query.key.space {
      case .item: kept = try await store.kept(query.key.text, on: reactor)
      case .entry: kept = try await store.entry(query.key.text, on: reactor)
      }
      if !isRefresh { note(.l3, isHit: kept != nil) }
      if let kept, suits(kept.remaining, refresh) {
        let value = DataValue(kept.value, version: kept.version, stamp: kept.stamp, age: kept.age, at: reactor.now)
        let found = Found(value: value, level: .l3, remaining: kept.remaining, trueAt: askedAt)
        climb(found, of: query, flight, isRefresh: isRefresh, on: reactor)
        if !isRefresh { refreshEarly(query, found, on: reactor) }
        return found
      }
      if query.key.space == .entry {
        rememberNone(of: query, flight, trueAt: askedAt, on: reactor)
        return Found(value: nil, level: nil, trueAt: askedAt)
      }
    }
    if query.key.space == .entry { return Found(value: nil, level: nil, trueAt: reactor.now) }
    return try await load(query, flight, on: reactor)
  }

  /// Whether a copy is worth it that is good for `remaining`: one that ends with the one it is to replace is not.
  private func suits(_ remaining: TimeSpan, _ refresh: Refresh?) -> Bool {
    refresh.map { remaining.seconds > $0.outlives.seconds + early.usualLoad.seconds } ?? true
  }

  private func inMemory(_ key: DataKey, at now: MonotonicTime) -> Found? {
    guard let (entry, _) = memory.value(for: key, at: now), coherence.believes(since: entry.trueAt, at: now) else {
      return nil
    }
    return Found(entry, at: now)
  }

  /// What is answered where there is no other answer: a copy whose time is over, if it is believed or the client would
  /// rather have that than none.
  private func inSpite(of query: DataQuery, at now: MonotonicTime) -> Found? {
    guard query.level ?? .l1 == .l1, let (entry, _) = memory.value(for: query.key, at: now), entry.value != nil else {
      return nil
    }
    var found = Found(entry, at: now)
    let over = found.staleFor ?? .milliseconds(0)
    let isWanted = query.staleIfError.map { over <= $0 } ?? false
    guard isWanted || coherence.believes(since: entry.trueAt, at: now) else { return nil }
    // Its time may not be over, but it is not known to be true.
    found.staleFor = over
    return found
  }

  /// When a copy that processes share was true for sure, nil if it is not believed. That was at the last proof and not
  /// now: else it would be believed for another while without one.
  private func believe(_ copy: DataValue, of key: DataKey, at now: MonotonicTime) -> MonotonicTime? {
    guard coherence.believes(key.hashValue, version: copy.version, stamp: copy.stamp, at: now) else { return nil }
    return coherence.provenAt
  }

  /// Reads the value itself, and keeps it if it is loaded for all who want it.
  private func load(
    _ query: DataQuery, _ flight: Flight?, on reactor: isolated Reactor
  ) async throws(DataError) -> Found {
    counts.loads.increment()
    let beganAt = reactor.now
    if delay.nanoseconds > 0 { await reactor.sleep(for: delay) }
    let askedAt = reactor.now
    let item = try await store.item(query.key.text, on: reactor)
    early.loaded(in: reactor.now.since(beganAt))
    let value = item.map { DataValue($0.value, version: $0.version, stamp: $0.stamp, at: reactor.now) }
    guard let flight, !flights.isOvertaken(flight) else {
      return Found(value: value, level: nil, trueAt: askedAt)
    }
    guard let item, let value else {
      rememberNone(of: query, flight, trueAt: askedAt, on: reactor)
      return Found(value: nil, level: nil, trueAt: askedAt)
    }
    for level in query.level.map({ [$0] }) ?? CacheLevel.allCases {
      let lifetime = times.lifetime(in: level, wish: query.lifetime, using: &random)
      switch level {
      case .l1: remember(value, of: query, for: lifetime, trueAt: askedAt, at: reactor.now)
      case .l2: share(value, of: query.key, for: lifetime, on: reactor)
      case .l3: keep(item, of: query.key, for: lifetime, on: reactor)
      }
    }
    return Found(value: value, level: nil, trueAt: askedAt)
  }

  private func counted(_ found: Found) -> Found {
    counts.count(found.level)
    return found
  }

  private func countedStale(_ found: Found, _ reason: DataCounters.StaleReason) -> Found {
    levels[0].stale += 1
    counts.count(reason)
    return found
  }
}

extension DataCache.Found {
  /// What is in memory.
  fileprivate init(_ entry: DataCache.Entry, at now: MonotonicTime) {
    self.init(value: entry.value, level: .l1, remaining: entry.freshUntil.since(now), trueAt: entry.trueAt)
    if entry.freshUntil <= now { staleFor = now.since(entry.freshUntil) }
  }
}
